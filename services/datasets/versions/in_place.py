"""Registers tars in place: only their indexes are stored here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from services.chassis.storage.objects import checked
from services.chassis.storage.sources import Sources, in_place_key
from services.datasets.tables import ShardRow, VersionRow
from services.datasets.versions.shard_objects import NewShard
from vila2.data.admission import Admission
from vila2.data.errors import DataError
from vila2.data.index import IndexRow, encode_index, index_row
from vila2.data.readers import ReadOptions
from vila2.data.readers.keys import Keys
from vila2.data.readers.webdataset import Group, groups_of, sample_of
from vila2.data.sample import RawSample, Sample


class InPlace:
    """Reads the tars of a source once, and makes an index for each that has a good sample."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources

    def shards(self, version: VersionRow, admission: Admission) -> Iterator[NewShard]:
        """The shard of every tar below the version's prefix, in order of name."""
        source = self._sources.open(version.origin)
        tars = [key for key in source.keys(version.prefix) if key.endswith(".tar")]
        if not tars:
            raise DataError(
                f"there is no .tar below {version.prefix!r} in {version.origin}",
                field="prefix",
                fix="Give the folder that holds WebDataset tars",
            )
        keys, number = Keys(), 0
        options = ReadOptions(**version.options)
        for name in tars:
            try:
                checked(name)
            except ValueError as error:
                raise DataError(
                    f"{name!r} has unusual characters", field="prefix", fix="Rename the tar"
                ) from error
            tar = source.local(name)
            rows = []
            for group in groups_of(tar, compressed=False):
                row = self._admit(sample_of(group, keys, options), group, admission)
                if row is not None:
                    rows.append(row)
            if rows:
                yield _shard(version, number, name, tar, rows)
                number += 1

    def _admit(self, raw: RawSample, group: Group, admission: Admission) -> IndexRow | None:
        sample = admission.admit(raw)
        if not isinstance(sample, Sample):
            return None
        # The same image as the reader took: the offset is the one of its bytes.
        members = zip(group.members, group.offsets, strict=True)
        offset = next(at for (_, data), at in members if data is sample.image)
        return index_row(sample, offset)


def _shard(
    version: VersionRow, number: int, name: str, tar: Path, rows: list[IndexRow]
) -> NewShard:
    with tar.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
    index = encode_index(rows)
    of_index = hashlib.sha256(index).hexdigest()[:32]
    key = in_place_key(version.origin, name, f"{version.id}-{of_index}")
    row = ShardRow(
        version_id=version.id,
        number=number,
        object_key=key,
        index_key=key,
        sha256=digest,
        bytes=tar.stat().st_size,
        samples=len(rows),
    )
    return NewShard(row, index)
