"""Append-only history of which data is in use: what changed, and by which key."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.web.paging import Page
from services.datasets.tables import HistoryRow
from services.identity.require_scope import Principal
from vila2.schemas.rest import datasets as api


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

    def of_team(self, team: str, page: Page) -> list[api.HistoryEntry]:
        """The team's entries, newest first."""
        chosen = select(HistoryRow).where(HistoryRow.team == team)
        with self._database.reading() as session:
            rows = page.rows(session, chosen, HistoryRow.id, newest_first=True)
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
