"""Storage quotas: a team's usage, and whether more fits into its limit from identity.

Usage counts the shards of its versions, except tars registered in place, plus uploads that are not
ingested yet, plus what is being uploaded: a check alone would let parallel uploads pass together.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.web.errors import TooLarge
from services.datasets.lookup import GONE
from services.datasets.tables import DatasetRow, ReservationRow, UploadRow, VersionRow
from vila2.schemas.rest import datasets as api
from vila2.schemas.rest.identity import Limits

# Longer than it takes to store a piece of the largest size.
_HELD_SECONDS = 3600.0


class StorageFull(TooLarge):
    """The upload would exceed the team's storage quota."""

    code = "storage-full"


class Storage:
    """Enforces storage quotas; `limits` returns a team's limits."""

    def __init__(self, database: Database, limits: Callable[[str], Limits]) -> None:
        self._database, self._limits = database, limits

    def check(self, session: Session, team: str, more: int, *, field: str) -> None:
        """Raise `StorageFull` unless `more` bytes fit; existing data is not affected."""
        most = self._limits(team).storage_bytes
        if most is None:
            return
        used = _used(session, team)
        if used >= most or used + more > most:
            raise StorageFull(
                f"team {team} may store {most:,} bytes and has {used:,}: {more:,} more do not fit",
                field=field,
                fix="have the platform's admin raise storage_bytes, then submit again: it goes on "
                "with what is missing",
            )

    def reserve(self, session: Session, team: str, more: int, *, field: str) -> str:
        """Check as `check` does and count `more` bytes as used; returns the reservation's id.

        It ends with `release`, or after an hour if this process dies.
        """
        exclusively(session, f"storage:{team}")
        now = time.time()
        session.execute(delete(ReservationRow).where(ReservationRow.until < now))
        self.check(session, team, more, field=field)
        row = ReservationRow(id=uuid.uuid4().hex, team=team, bytes=more, until=now + _HELD_SECONDS)
        session.add(row)
        return row.id

    def release(self, session: Session, reservation: str) -> None:
        """End a reservation: its bytes are stored, or will not be."""
        session.execute(delete(ReservationRow).where(ReservationRow.id == reservation))

    def get(self, team: str) -> api.StorageQuota:
        """A team's storage usage and limit."""
        with self._database.reading() as session:
            used = _used(session, team)
        return api.StorageQuota(
            team=team, storage_bytes=self._limits(team).storage_bytes, storage_bytes_used=used
        )


def _used(session: Session, team: str) -> int:
    of_team = select(DatasetRow.id).where(DatasetRow.team == team)
    shards = session.scalar(
        select(func.sum(VersionRow.bytes)).where(
            VersionRow.dataset_id.in_(of_team),
            VersionRow.origin == "",
            VersionRow.state.not_in(GONE),
        )
    )
    uploads = session.scalar(
        select(func.sum(UploadRow.bytes))
        .join(VersionRow, VersionRow.id == UploadRow.version_id)
        .where(VersionRow.dataset_id.in_(of_team), UploadRow.kept)
    )
    coming = session.scalar(
        select(func.sum(ReservationRow.bytes)).where(
            ReservationRow.team == team, ReservationRow.until >= time.time()
        )
    )
    return int(shards or 0) + int(uploads or 0) + int(coming or 0)
