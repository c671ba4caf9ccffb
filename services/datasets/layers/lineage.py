"""Queries over layers: differences between two, and the lineage of a sample."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from services.chassis.storage.database import Database
from services.chassis.storage.intact import stored_shard
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Conflict
from services.datasets.lookup import layer_row, ready_version, shards_of
from services.datasets.tables import LayerRow, LayerShardRow
from services.datasets.versions.content import captions_of
from services.datasets.versions.sample_lookup import find_sample
from vila2.client import Client
from vila2.data.errors import Damaged, ShardError
from vila2.data.layer_diff import CaptionDiff
from vila2.data.layers import CaptionRow, decode_layer_shard
from vila2.data.random_access import image_at
from vila2.data.stored.intact import check_bytes, missing
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest import datasets as api
from vila2.schemas.rest.training import RegisteredModel

_SHARDS_AT_ONCE = 20


class Reading:
    """Read-only queries over indexes and layers."""

    def __init__(
        self, database: Database, objects: ObjectStore, platform: Callable[[str], Client]
    ) -> None:
        self._database, self._objects, self._platform = database, objects, platform

    def diff(
        self, team: str, after: str, before: str, *, first: int, examples: int
    ) -> api.LayerDiff:
        """Differences over the next 20 shards that both layers have, from shard `first` on.

        Raises `Conflict` if the layers belong to different versions.
        """
        with self._database.transaction() as session:
            new, old = layer_row(session, team, after), layer_row(session, team, before)
            if new.version_id != old.version_id:
                raise Conflict(
                    f"{after} and {before} are layers of different dataset versions",
                    field="against",
                    fix="compare layers of one version",
                )
            pairs = _common(session, new, old, first)
        made = CaptionDiff()
        for left, right in pairs[:_SHARDS_AT_ONCE]:
            made.add(self._rows(left), self._rows(right), examples=examples)
        more = len(pairs) > _SHARDS_AT_ONCE
        return api.LayerDiff(
            shards=min(len(pairs), _SHARDS_AT_ONCE),
            next=pairs[_SHARDS_AT_ONCE][0].number if more else None,
            same=made.same,
            changed=made.changed,
            gained=made.gained,
            lost=made.lost,
            neither=made.neither,
            words_before=made.words_before,
            words_after=made.words_after,
            examples=[
                api.DiffExample(key=key, before=old_text, after=new_text)
                for key, old_text, new_text in made.examples
            ],
        )

    def lineage(self, team: str, dataset: str, number: int, key: str) -> api.Lineage:
        """A sample's origin, its captions and the models trained on them; may raise `NotFound`."""
        with self._database.transaction() as session:
            version = ready_version(session, team, dataset, number)
            shards = shards_of(session, version.id)
            layers = session.scalars(
                select(LayerRow)
                .where(LayerRow.version_id == version.id)
                .order_by(LayerRow.created_at)
            ).all()
        shard, held = find_sample(self._objects, shards, f"{dataset}@{version.number}", key)
        models = self._platform(team).training.models()
        captions = [
            made
            for layer in layers
            if (made := self._caption(layer, shard.number, key, models)) is not None
        ]
        # A job that names no version used the current one, which may have been this one.
        named = {DatasetRef(dataset, version.number), dataset}
        return api.Lineage(
            dataset=dataset,
            version=version.number,
            shard=shard.number,
            captions=captions,
            models=[model.name for model in models if named & set(model.data)],
            **{
                name: held[name]
                for name in ("key", "sha256", "width", "height", "source", "caption", "offset")
            },
        )

    def image(self, team: str, dataset: str, number: int, key: str) -> tuple[bytes, str]:
        """A sample's encoded image and its file extension; may raise `NotFound`."""
        with self._database.transaction() as session:
            version = ready_version(session, team, dataset, number)
            shards = shards_of(session, version.id)
        name = f"{dataset}@{version.number}"
        shard, held = find_sample(self._objects, shards, name, key)
        stored = stored_shard(name, shard.number, shard.object_key, shard.sha256)
        image = stored.model_copy(update={"sha256": held["sha256"]})
        try:
            path = self._objects.local(shard.object_key)
            return check_bytes(image_at(path, held["offset"], held["size"]), image), held[
                "extension"
            ]
        except (KeyError, FileNotFoundError) as error:
            raise missing(stored) from error
        except ShardError as error:
            raise Damaged(stored, error.message) from error

    def _caption(
        self, layer: LayerRow, shard: int, key: str, models: list[RegisteredModel]
    ) -> api.CaptionOf | None:
        with self._database.transaction() as session:
            held = session.get(LayerShardRow, (layer.id, shard))
        if held is None:
            return None
        row = next((row for row in self._rows(held) if row.key == key), None)
        if row is None:
            return None
        fields = {name: getattr(row, name) for name in row.__slots__}
        return api.CaptionOf(
            layer=layer.id,
            name=layer.name,
            state=layer.state,
            captioner=layer.captioner,
            models=[m.name for m in models if {layer.id, layer.name} & set(m.data)],
            **{k: v for k, v in fields.items() if k not in ("key", "sha256")},
        )

    def _rows(self, held: LayerShardRow) -> list[CaptionRow]:
        return decode_layer_shard(captions_of(self._objects, held))


def _common(
    session: Session, new: LayerRow, old: LayerRow, first: int
) -> list[tuple[LayerShardRow, LayerShardRow]]:
    """The next shards of both layers as (old, new), plus one to detect whether more follow."""
    ours, theirs = aliased(LayerShardRow), aliased(LayerShardRow)
    rows = session.execute(
        select(theirs, ours)
        .join(ours, ours.number == theirs.number)
        .where(theirs.layer_id == old.id, ours.layer_id == new.id, ours.number >= first)
        .order_by(ours.number)
        .limit(_SHARDS_AT_ONCE + 1)
    )
    return [(row[0], row[1]) for row in rows]
