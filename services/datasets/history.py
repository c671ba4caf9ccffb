"""What changed which data is in use, and who did it: written beside the change, never changed."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.auth import Principal
from services.chassis.database import Database
from services.datasets.tables import HistoryRow
from vila2.api import datasets as api


def record(session: Session, caller: Principal, action: str, subject: str, detail: str) -> None:
    """Add an entry in the transaction of the change itself."""
    session.add(
        HistoryRow(
            team=caller.team,
            action=action,
            subject=subject,
            detail=detail[:2000],
            by_key=caller.key,
        )
    )


class History:
    """Owns the table `history`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_team(self, team: str, *, limit: int) -> list[api.HistoryEntry]:
        """The team's newest entries, newest first."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(HistoryRow)
                .where(HistoryRow.team == team)
                .order_by(HistoryRow.id.desc())
                .limit(limit)
            )
            return [
                api.HistoryEntry(
                    action=row.action,
                    subject=row.subject,
                    detail=row.detail,
                    by_key=row.by_key,
                    at=row.at,
                )
                for row in rows
            ]
