"""Garbage: uploads that were abandoned, and objects that no row refers to.

Such objects are left by processes that died between storing an object and recording it. Everything
is judged again right before it is deleted, and nothing that is younger than an hour is touched.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore, StoredObject
from services.chassis.web.errors import Conflict, NotFound
from services.chassis.work.units import FAILED
from services.datasets.governance.deletions import Deletions
from services.datasets.governance.references import PREFIXES, SHARED, Orphan, orphans
from services.datasets.governance.takedowns import lock_takedowns
from services.datasets.tables import DatasetRow, TakedownRow, VersionRow, WorkUnitRow
from services.datasets.versions.shard_objects import ShardObjects
from services.identity.require_scope import Principal
from vila2.schemas.rest import dataset_upkeep as api
from vila2.schemas.rest.identity import DAY

# An object is stored before or after its row within this time.
HOUR = 3600.0
_BATCH = 500
_REASON = "nothing was uploaded to it for a day"


class GarbageCollection:
    """Finds garbage of a team, and of no team, and deletes it."""

    def __init__(self, database: Database, objects: ObjectStore, deletions: Deletions) -> None:
        self._database, self._objects, self._deletions = database, objects, deletions
        self._shard_objects = ShardObjects(database, objects)

    def find(self, caller: Principal, *, unowned: bool) -> api.Garbage:
        """What `collect` would delete."""
        found = _Found()
        for orphan, entry in self._orphans(caller.team, unowned=unowned):
            found.add(orphan, entry)
        return found.shown(self._abandoned(caller.team), collected=False, unowned=unowned)

    def collect(self, caller: Principal, *, unowned: bool) -> api.Garbage:
        """Delete the team's garbage and, if `unowned`, what is of no team; returns what it was."""
        found = _Found()
        for orphan, entry in self._orphans(caller.team, unowned=unowned):
            old = entry.written_at < time.time() - HOUR
            if not old or self._delete(orphan):
                found.add(orphan, entry)
        abandoned = [
            upload for upload in self._abandoned(caller.team) if self._give_up(caller, upload)
        ]
        return found.shown(abandoned, collected=True, unowned=unowned)

    def _give_up(self, caller: Principal, upload: api.AbandonedUpload) -> bool:
        """Delete the version unless somebody has gone on with it meanwhile."""

        def still_abandoned(version: VersionRow) -> bool:
            held = self._objects.entries(f"uploads/{version.id}")
            before = time.time() - DAY
            return version.state == "open" and all(entry.written_at < before for entry in held)

        asked = api.DeletionIn(reason=_REASON)
        try:
            self._deletions.start(
                caller, upload.dataset, upload.version, asked, only_if=still_abandoned
            )
        except (Conflict, NotFound):
            return False
        return True

    def _abandoned(self, team: str) -> list[api.AbandonedUpload]:
        """The team's open versions that nothing was uploaded to for a day."""
        before = time.time() - DAY
        with self._database.reading() as session:
            rows = session.execute(
                select(DatasetRow.name, VersionRow)
                .join(VersionRow, VersionRow.dataset_id == DatasetRow.id)
                .where(
                    DatasetRow.team == team,
                    VersionRow.state == "open",
                    VersionRow.created_at < before,
                )
                .order_by(DatasetRow.name, VersionRow.number)
            ).all()
        found = []
        for name, row in rows:
            held = list(self._objects.entries(f"uploads/{row.id}"))
            if all(entry.written_at < before for entry in held):
                found.append(
                    api.AbandonedUpload(
                        dataset=name,
                        version=row.number,
                        bytes=sum(entry.bytes for entry in held),
                        created_at=row.created_at,
                    )
                )
        return found

    def _orphans(self, team: str, *, unowned: bool) -> Iterator[tuple[Orphan, StoredObject]]:
        """Objects that no row refers to, whatever their age."""
        teams = {team, ""} if unowned else {team}
        for prefix in PREFIXES:
            batch: dict[str, StoredObject] = {}
            for entry in self._objects.entries(prefix):
                batch[entry.key] = entry
                if len(batch) == _BATCH:
                    yield from self._judged(batch, teams)
                    batch = {}
            yield from self._judged(batch, teams)

    def _judged(
        self, batch: dict[str, StoredObject], teams: set[str]
    ) -> Iterator[tuple[Orphan, StoredObject]]:
        with self._database.reading() as session:
            found = [orphan for orphan in orphans(session, list(batch)) if orphan.team in teams]
        yield from ((orphan, batch[orphan.key]) for orphan in found)

    def _delete(self, orphan: Orphan) -> bool:
        """Delete the object unless a row refers to it by now."""
        if orphan.key.split("/")[0] in SHARED:
            return not self._shard_objects.delete_unused([orphan.key])
        with self._database.transaction() as session:
            # A take-down stores an object before the row that refers to it.
            lock_takedowns(session, orphan.team)
            if _is_taking_down(session, orphan.team) or not list(orphans(session, [orphan.key])):
                return False
            self._objects.delete(orphan.key)
            return True


@dataclass
class _Found:
    """Counts of what was found."""

    mine: api.Unreferenced = field(default_factory=api.Unreferenced)
    of_none: api.Unreferenced = field(default_factory=api.Unreferenced)
    young: int = 0

    def add(self, orphan: Orphan, entry: StoredObject) -> None:
        """Count an object; one that is not old enough is counted apart."""
        if entry.written_at >= time.time() - HOUR:
            self.young += 1
            return
        counted = self.mine if orphan.team else self.of_none
        counted.objects += 1
        counted.bytes += entry.bytes

    def shown(
        self, abandoned: list[api.AbandonedUpload], *, collected: bool, unowned: bool
    ) -> api.Garbage:
        """As the routes return it."""
        return api.Garbage(
            collected=collected,
            abandoned=abandoned,
            objects=self.mine,
            unowned=self.of_none if unowned else None,
            young=self.young,
        )


def _is_taking_down(session: Session, team: str) -> bool:
    running = (
        select(TakedownRow.id)
        .join(WorkUnitRow, WorkUnitRow.subject == TakedownRow.id)
        .where(
            TakedownRow.team == team, TakedownRow.state == "running", WorkUnitRow.state != FAILED
        )
    )
    return session.scalar(running.limit(1)) is not None
