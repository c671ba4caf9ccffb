"""Which stored objects no row refers to, and whose they were. Reads, and changes nothing.

Objects of versions and layers that still change are never judged: their rows may follow the
objects, and what an upload has sent is kept for its next attempt.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.sources import IN_PLACE
from services.datasets.tables import DatasetRow, LayerRow, LayerShardRow, ShardRow, VersionRow

# Where the dataset store keeps objects; the other services' are not its business.
PREFIXES = ("uploads", "shards", "indexes", "looks", "datasets", "layers", IN_PLACE)
# Their keys are shared by versions, so that only a lock on the key makes deleting them safe.
SHARED = ("shards", IN_PLACE)
_SETTLED = ("ready", "deleted")


@dataclass(frozen=True, slots=True)
class Orphan:
    """An object that no row refers to; `team` is "" if no row says whose it was."""

    key: str
    team: str


def orphans(session: Session, keys: Sequence[str]) -> Iterator[Orphan]:
    """Those of the keys that no row refers to."""
    held = _Rows.of(session, keys)
    for key in keys:
        kind, _, rest = key.partition("/")
        if key in held.named:
            continue
        if kind == "shards":
            yield Orphan(key, "")
        elif kind == "layers":
            layer = held.layers.get(rest.partition("/")[0])
            if layer is None:
                yield Orphan(key, "")
            elif layer.state != "open" and rest != f"{layer.id}/manifest.json":
                yield Orphan(key, layer.team)
        else:
            version = _version_of(key)
            state, team = held.versions.get(version, ("deleted", ""))
            if state in _SETTLED and not (state == "ready" and kind == "datasets"):
                yield Orphan(key, team)


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows that some keys can belong to: what is named, and versions as (state, team)."""

    named: set[str]
    versions: dict[int, tuple[str, str]]
    layers: dict[str, LayerRow]

    @classmethod
    def of(cls, session: Session, keys: Sequence[str]) -> _Rows:
        versions = {_version_of(key) for key in keys if not key.startswith(("shards/", "layers/"))}
        layers = {key.split("/")[1] for key in keys if key.startswith("layers/")}
        named = set(
            session.scalars(select(ShardRow.object_key).where(ShardRow.object_key.in_(keys)))
        )
        # Keys of indexes and hashes hold the shard's number, so only those rows are read.
        numbers = {number for key in keys if (number := _number_of(key)) >= 0}
        for row in session.execute(
            select(ShardRow.version_id, ShardRow.number, ShardRow.sha256, ShardRow.index_key).where(
                ShardRow.version_id.in_(versions), ShardRow.number.in_(numbers)
            )
        ):
            named.add(row.index_key)
            named.add(f"looks/{row.version_id}/{row.number:06d}-{row.sha256[:16]}.parquet")
        named |= set(
            session.scalars(
                select(LayerShardRow.object_key).where(
                    LayerShardRow.layer_id.in_(layers), LayerShardRow.object_key.in_(keys)
                )
            )
        )
        states = session.execute(
            select(VersionRow.id, VersionRow.state, DatasetRow.team)
            .join(DatasetRow, DatasetRow.id == VersionRow.dataset_id)
            .where(VersionRow.id.in_(versions))
        )
        rows = session.scalars(select(LayerRow).where(LayerRow.id.in_(layers)))
        return cls(
            named,
            {version: (state, team) for version, state, team in states},
            {row.id: row for row in rows},
        )


def _version_of(key: str) -> int:
    """The id of the version that a key was made for; -1 if it names none."""
    parts = key.split("/")
    return _integer(parts[-1].partition("-")[0] if parts[0] == IN_PLACE else parts[1])


def _number_of(key: str) -> int:
    """The number of the shard that an index or hashes were made for; -1 if there is none."""
    return _integer(key.split("/")[-1].partition("-")[0])


def _integer(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
