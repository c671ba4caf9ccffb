"""The steps of a deletion: rows are marked first, then objects are swept.

Marking is one transaction: from then on the version is not found, and its number stays in use.
Sweeping proceeds in pages of shards: remove their rows and note the objects in one transaction,
then delete those that no other row refers to. An interrupted sweep continues where it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.sources import IN_PLACE
from services.chassis.work.units import Claim, WorkUnits
from services.chassis.work.worker import Report
from services.datasets.lookup import PAGE, shards_of
from services.datasets.tables import (
    AuditRow,
    DatasetRow,
    DeletionRow,
    ExportRow,
    LayerRow,
    LayerShardRow,
    ShardRow,
    UploadRow,
    VersionRow,
)
from services.datasets.versions.shard_objects import ShardObjects
from vila2.schemas.refs import DatasetRef

# Parts of a deletion's effects that only the sweep needs: the versions' ids, the objects of a page
# of shards with their sizes, and the sizes of what is below each prefix of its own.
INTERNAL = ("ids", "drop", "prefixes")
# Nothing below these belongs to another version.
OWN_PREFIXES = ("uploads", "indexes", "looks", "datasets")


def mark_deleted(
    session: Session,
    units: WorkUnits,
    dataset: DatasetRow,
    versions: Sequence[VersionRow],
    layers: Sequence[tuple[str, str]],
) -> dict[str, Any]:
    """Take locked versions and their layers out of sight; returns the record's first effects."""
    ids = [version.id for version in versions]
    layer_ids = [layer for layer, _ in layers]
    exports = session.scalars(select(ExportRow.id).where(ExportRow.version_id.in_(ids))).all()
    session.execute(delete(LayerShardRow).where(LayerShardRow.layer_id.in_(layer_ids)))
    session.execute(delete(LayerRow).where(LayerRow.id.in_(layer_ids)))
    session.execute(delete(AuditRow).where(AuditRow.version_id.in_(ids)))
    session.execute(delete(UploadRow).where(UploadRow.version_id.in_(ids)))
    for version in versions:
        units.cancel(session, f"version-{version.id}")
        units.cancel(session, f"audit-{version.id}")
        version.state = "deleting"
        # The same data may be submitted again, and must not find this version.
        version.token = None
        if dataset.latest == version.number:
            dataset.latest = 0
    return {
        "ids": ids,
        "versions": [str(DatasetRef(dataset.name, version.number)) for version in versions],
        "layers": layer_ids,
        "samples": sum(version.samples or 0 for version in versions),
        "exports": list(exports),
    }


class DeletionSweep:
    """Deletes the objects of marked versions and layers; idempotent."""

    def __init__(self, database: Database, objects: ObjectStore, units: WorkUnits) -> None:
        self._database, self._objects, self._units = database, objects, units
        self._shard_objects = ShardObjects(database, objects)

    def run(self, claim: Claim, report: Report) -> None:
        """Delete what only the marked versions use, count its bytes, and close the record."""
        with self._database.reading() as session:
            effects = session.get_one(DeletionRow, claim.payload["deletion"]).effects
        prefixes = [f"{kind}/{version}" for kind in OWN_PREFIXES for version in effects["ids"]]
        prefixes += [f"layers/{layer}" for layer in effects["layers"]]
        if "prefixes" not in effects:
            # Measured before anything is deleted: an interrupted sweep could not do it later.
            sizes = {prefix: self._size(prefix) for prefix in prefixes}
            if not self._change(claim, prefixes=sizes):
                return
        done = 0
        for version in effects["ids"]:
            while True:
                if not self._sweep(claim):
                    return
                taken = self._take_page(claim, version)
                if not taken:
                    break
                done += taken
                report(done)
        for prefix in prefixes:
            for key in list(self._objects.keys(prefix)):
                self._objects.delete(key)
        crashpoint("deletion.swept")
        with self._database.transaction() as session:
            if not self._units.complete(session, claim, {"shards": done}):
                return
            row = session.get_one(DeletionRow, claim.payload["deletion"])
            freed = row.effects.get("bytes_freed", 0) + sum(row.effects["prefixes"].values())
            row.effects = {**row.effects, "bytes_freed": freed}
            row.state = "done"
            for version in row.effects["ids"]:
                session.get_one(VersionRow, version).state = "deleted"

    def _take_page(self, claim: Claim, version: int) -> int:
        """Remove the rows of a page of shards and note their objects; returns their number."""
        with self._database.transaction() as session:
            if not self._units.holds(session, claim):
                return 0
            rows = shards_of(session, version, limit=PAGE)
            drop: dict[str, int] = {}
            for row in rows:
                # The tar of a shard in place is not ours, only its index is.
                in_place = row.object_key.startswith(f"{IN_PLACE}/")
                drop[row.object_key] = 0 if in_place else row.bytes
                session.delete(row)
            held = session.get_one(DeletionRow, claim.payload["deletion"])
            held.effects = {**held.effects, "drop": drop}
        crashpoint("deletion.unreferenced")
        return len(rows)

    def _sweep(self, claim: Claim) -> bool:
        """Delete the noted objects that no version uses; False if the claim was lost."""
        with self._database.reading() as session:
            row = session.get_one(DeletionRow, claim.payload["deletion"])
        drop: dict[str, int] = row.effects.get("drop", {})
        if not drop:
            return True
        used = self._shard_objects.delete_unused(drop)
        crashpoint("deletion.page")
        with self._database.reading() as session:
            kept = _used_by(session, row.team, used)
        # What only another team still uses counts as freed: its data is none of this team's
        # business.
        freed = sum(size for key, size in drop.items() if key not in kept)
        before = row.effects.get("bytes_freed", 0)
        return self._change(claim, drop={}, bytes_freed=before + freed)

    def _change(self, claim: Claim, **effects: Any) -> bool:
        """Add to the record; False if another worker has the claim."""
        with self._database.transaction() as session:
            if not self._units.holds(session, claim):
                return False
            row = session.get_one(DeletionRow, claim.payload["deletion"])
            row.effects = {**row.effects, **effects}
            return True

    def _size(self, prefix: str) -> int:
        return sum(entry.bytes for entry in self._objects.entries(prefix))


def _used_by(session: Session, team: str, keys: Iterable[str]) -> set[str]:
    """Those of the keys that a shard of the team refers to."""
    return set(
        session.scalars(
            select(ShardRow.object_key)
            .join(VersionRow, VersionRow.id == ShardRow.version_id)
            .join(DatasetRow, DatasetRow.id == VersionRow.dataset_id)
            .where(DatasetRow.team == team, ShardRow.object_key.in_(list(keys)))
        )
    )
