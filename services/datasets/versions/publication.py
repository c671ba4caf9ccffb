"""How a version gets its shards: each is kept, then all are published together.

Shared by ingest and by exclusions. A shard's row is committed before its objects are stored, so
that nobody deletes an object that this version has found in the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.work.units import Claim, WorkUnits
from services.datasets.governance.takedowns import lock_takedowns
from services.datasets.manifests import dataset_manifest, digest_of, put_manifest, shard_ref
from services.datasets.tables import DatasetRow, ShardRow, TakedownRow, VersionRow
from services.datasets.versions.shard_objects import NewShard, ShardObjects, lock_object
from vila2.data.admission import Summary


class Publication:
    """Writes the shards of versions that are being made, under the fence of their unit."""

    def __init__(self, database: Database, objects: ObjectStore, units: WorkUnits) -> None:
        self._database, self._objects, self._units = database, objects, units
        self._shard_objects = ShardObjects(database, objects)

    def keep(self, claim: Claim, new: NewShard) -> bool:
        """Record the shard in SQL, then store its objects; False if the claim was lost."""
        row = new.row
        with self._database.transaction() as session:
            if not self._units.holds(session, claim):
                return False
            lock_object(session, row.object_key)
            # An earlier attempt may have made a different shard, if a takedown began since.
            earlier = session.get(ShardRow, (row.version_id, row.number))
            replaced = [] if earlier is None else [earlier.object_key, earlier.index_key]
            session.merge(row)
        self._shard_objects.store(new)
        self._shard_objects.delete_unused(key for key in replaced if key not in _objects_of(row))
        return True

    def publish(
        self,
        claim: Claim,
        version_id: int,
        shards: Sequence[ShardRow],
        summary: Summary,
        gone: set[str],
    ) -> bool:
        """Mark the version ready with all its shards; False if the claim was lost.

        Raises `RuntimeError` if an object is missing or an image was taken down since `gone` was
        read: the unit is then tried again.
        """
        with self._database.reading() as session:
            version = session.get_one(VersionRow, version_id)
            dataset = session.get_one(DatasetRow, version.dataset_id)
        manifest = dataset_manifest(
            dataset,
            version,
            samples=summary.accepted,
            sha256=digest_of(shards),
            rejected=dict(summary.rejected),
        )
        key = f"datasets/{version_id}/manifest.json"
        put_manifest(self._objects, key, manifest, map(shard_ref, shards))
        self._shard_objects.verify(shards)
        crashpoint("ingest.written")
        with self._database.transaction() as session:
            if not self._units.complete(session, claim, {"samples": summary.accepted}):
                return False
            lock_takedowns(session, dataset.team)
            if taken_down(session, dataset.team) != gone:
                raise RuntimeError("an image was taken down while this version was ingested")
            row = session.get_one(VersionRow, version_id)
            left = _remove_shards(session, version_id, first=len(shards))
            _record(row, summary)
            row.state, row.sha256, row.shards = "ready", manifest.sha256, len(shards)
            row.samples, row.bytes = summary.accepted, sum(shard.bytes for shard in shards)
            owner = session.get_one(DatasetRow, row.dataset_id)
            owner.latest = max(owner.latest or 0, row.number)
        self._shard_objects.delete_unused(left)
        return True

    def settle_failed(
        self, claim: Claim, version_id: int, message: str, summary: Summary | None = None
    ) -> None:
        """Mark the version failed, and remove the shards that it has so far."""
        with self._database.transaction() as session:
            if not self._units.holds(session, claim):
                return
            left = _remove_shards(session, version_id)
            row = session.get_one(VersionRow, version_id)
            row.state, row.error = "failed", message[:2000]
            if summary is not None:
                _record(row, summary)
        self._shard_objects.delete_unused(left)


def taken_down(session: Session, team: str) -> set[str]:
    """The digests of the images that the team has taken down."""
    return set(session.scalars(select(TakedownRow.sha256).where(TakedownRow.team == team)))


def _remove_shards(session: Session, version_id: int, *, first: int = 0) -> list[str]:
    """Remove a version's shards from `first` on; the keys of their objects."""
    query = select(ShardRow).where(ShardRow.version_id == version_id, ShardRow.number >= first)
    rows = session.scalars(query).all()
    for row in rows:
        session.delete(row)
    return [key for row in rows for key in _objects_of(row)]


def _objects_of(row: ShardRow) -> tuple[str, str]:
    return row.object_key, row.index_key


def _record(row: VersionRow, summary: Summary) -> None:
    row.rejected = dict(summary.rejected)
    row.repeated_captions = summary.repeated_captions
    row.notes = dict(summary.notes)
    row.examples = [asdict(example) for kept in summary.examples.values() for example in kept]
