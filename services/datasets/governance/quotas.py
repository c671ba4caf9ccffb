"""Storage quotas: a team's usage, and whether more fits into its limit from identity.

Usage counts the shards of its versions, except tars registered in place, plus uploads that are not
ingested yet.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.web.errors import TooLarge
from services.datasets.tables import DatasetRow, UploadRow, VersionRow
from vila2.schemas.rest import datasets as api
from vila2.schemas.rest.identity import Limits


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
            VersionRow.dataset_id.in_(of_team), VersionRow.origin == ""
        )
    )
    uploads = session.scalar(
        select(func.sum(UploadRow.bytes))
        .join(VersionRow, VersionRow.id == UploadRow.version_id)
        .where(VersionRow.dataset_id.in_(of_team), UploadRow.kept)
    )
    return int(shards or 0) + int(uploads or 0)
