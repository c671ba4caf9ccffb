"""A table of work units as a service would own it, and what the tests do to it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import delete, update
from sqlalchemy.orm import DeclarativeBase

from services.chassis.storage.database import Database
from services.chassis.work.units import Claim, WorkUnitColumns, WorkUnits


class Base(DeclarativeBase):
    """The metadata of a service that has work units alone."""


class UnitRow(WorkUnitColumns, Base):
    """A unit of it."""

    __tablename__ = "work_units"


class WorkDatabase:
    """A database with units; `units` leases for a minute, `lapsing` for less than no time."""

    def __init__(self, url: str) -> None:
        self.database = Database.open(url, Base.metadata)
        self.units = WorkUnits(self.database, UnitRow)
        self.lapsing = WorkUnits(self.database, UnitRow, lease_seconds=-1.0)

    def add(self, *ids: str, **values: Any) -> None:
        given = {"task": "t", "subject": "job", "payload": {"n": 1}, "max_attempts": 4, **values}
        with self.database.transaction() as session:
            self.units.add(session, [UnitRow(id=unit_id, **given) for unit_id in ids])

    def row(self, unit_id: str) -> UnitRow:
        with self.database.transaction() as session:
            return session.get_one(UnitRow, unit_id)

    def complete(self, claim: Claim, **result: Any) -> bool:
        with self.database.transaction() as session:
            return self.units.complete(session, claim, result)

    def cancel(self, subject: str = "job") -> None:
        with self.database.transaction() as session:
            self.units.cancel(session, subject)

    def pass_backoff(self) -> None:
        """As if the pause after a failure were over."""
        with self.database.transaction() as session:
            session.execute(update(UnitRow).values(not_before=0.0))

    def clear(self) -> None:
        """As if nothing had ever been added."""
        with self.database.transaction() as session:
            session.execute(delete(UnitRow))
