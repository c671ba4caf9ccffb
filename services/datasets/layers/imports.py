"""Imports captions as layers: another dataset's by image digest, and files' by name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Invalid
from services.datasets.layers.layers import Layers
from services.datasets.layers.sealed_import import sealed_import
from services.datasets.lookup import each_shard, ready_version, shards_of, version_name
from services.datasets.versions.content import index_rows
from vila2.data.errors import DataError
from vila2.data.given_captions.matching import Matching, Named, Rows, match, no_match
from vila2.data.given_captions.upload import FORMAT, of_batches
from vila2.data.index import source_ids_of
from vila2.data.readers import ReadOptions
from vila2.data.sandboxed_reader import read_apart
from vila2.schemas.canonical import canonical_json
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest import datasets as api


class LayerImports:
    """Imports captions by the versions' indexes; reads no images."""

    def __init__(self, database: Database, objects: ObjectStore, layers: Layers) -> None:
        self._database, self._objects, self._layers = database, objects, layers

    def run(self, team: str, body: api.LayerImport) -> api.Layer:
        """Create a sealed layer from another dataset's captions.

        Images without a caption in it are quarantined as `not-in-import`. Raises `NotFound` or
        `Conflict` if a version is missing or not ready.
        """
        with self._database.transaction() as session:
            donor = ready_version(session, team, body.from_dataset)
            target = ready_version(session, team, body.dataset)
            donor_shards, shards = shards_of(session, donor.id), shards_of(session, target.id)
        name = str(DatasetRef(body.from_dataset, donor.number))
        captions: dict[str, str] = {}
        for shard in donor_shards:
            for held in index_rows(self._objects, name, shard, ("sha256", "caption")):
                captions[held["sha256"]] = held["caption"]
        opened = api.LayerIn(
            name=body.name,
            dataset=body.dataset,
            version=target.number,
            recipe_hash=f"import-{donor.sha256[:16]}",
            captioner=name,
        )
        return sealed_import(
            self._layers, self._objects, team, opened, shards,
            lambda _, sha256: captions.get(sha256, ""),
        )  # fmt: skip

    def of_file(
        self, team: str, dataset: str, number: int, asked: api.CaptionFileIn, body: Path
    ) -> api.CaptionFile:
        """Create a sealed layer from the captions of a file that was sent; `body` is Parquet.

        The same captions under the same name give the same layer. Raises `Invalid` for a file that
        is not readable, holds no caption, contradicts itself, or names no sample of the version.
        """
        with self._database.reading() as session:
            version = ready_version(session, team, dataset, number)
        try:
            rows = Rows.of(of_batches(read_apart(FORMAT, body, ReadOptions())))
            found = match(rows, lambda: self._names(version.id))
        except DataError as error:
            raise Invalid(error.message, field=error.field or "body", fix=error.fix) from error
        if not rows.by_name:
            raise Invalid(
                f"none of the {rows.total:,} rows has a caption", field="caption",
                fix="name the column that holds them with --caption-column",
            )  # fmt: skip
        if not found.captions:
            raise Invalid(
                no_match(rows, self._names(version.id)), field="key",
                fix="name the column that has the samples' keys, file names or addresses with "
                "--key-column",
            )  # fmt: skip
        opened = api.LayerIn(
            name=asked.name,
            dataset=dataset,
            version=version.number,
            recipe_hash=f"import-{_digest(found)}",
            captioner=f"imported:{asked.file}",
        )
        layer = sealed_import(
            self._layers, self._objects, team, opened, each_shard(self._database, version.id),
            lambda key, _: found.captions[key].caption if key in found.captions else "",
        )  # fmt: skip
        return _answer(layer, found)

    def _names(self, version_id: int) -> Iterator[Named]:
        """What each sample of a version is called, read shard by shard."""
        columns = ("key", "extension", "source", "about")
        with self._database.reading() as session:
            name = version_name(session, version_id)
        for shard in each_shard(self._database, version_id):
            for held in index_rows(self._objects, name, shard, columns):
                ids = source_ids_of(held["about"])
                yield Named(held["key"], held["extension"], held["source"], ids)


def _digest(found: Matching) -> str:
    captions = sorted((key, row.caption) for key, row in found.captions.items())
    return hashlib.sha256(canonical_json(captions)).hexdigest()[:16]


def _answer(layer: api.Layer, found: Matching) -> api.CaptionFile:
    return api.CaptionFile(
        layer=layer,
        rows=found.rows,
        matched=found.matched,
        empty=found.empty,
        repeated=found.repeated,
        unmatched=found.unmatched,
        ambiguous=found.ambiguous,
        unmatched_examples=[
            api.CaptionFileRow(row=row.row[:200], key=row.key[:500])
            for row in found.unmatched_examples
        ],
        ambiguous_examples=[
            api.CaptionFileRow(row=row.row[:200], key=row.key[:500])
            for row in found.ambiguous_examples
        ],
    )
