"""Work units: durable rows of short work, claimed by lease and finished by fence.

A worker claims a unit and gets a *fence*, one higher than any before. It writes its output under a
key that holds the fence, then completes the unit by compare-and-set: a worker whose lease ran out
loses quietly, whatever it wrote. Every move is one UPDATE that names the state and the fence it
starts from, so it is as right in PostgreSQL, whose writers overlap (the second waits for the row
and then finds it changed), as in SQLite, whose writers queue.

Rows that are ready are themselves the outbox: a relay publishes a hint for each until somebody
claims it, so a lost or doubled message changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Float, Integer, String, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from services.chassis.crashpoint import crashpoint
from services.chassis.database import Database

READY, LEASED, DONE, FAILED, CANCELLED = "ready", "leased", "done", "failed", "cancelled"
PAUSED = "paused"
LEASE_SECONDS = 60.0


class Postponed(Exception):  # it says what becomes of the unit
    """What the work needs is not there now; the unit waits and loses none of its attempts."""


class WorkUnitColumns:
    """The columns of a service's `work_units` table; the service owns the table."""

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    task: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(60), index=True)
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(12), default=READY, index=True)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str] = mapped_column(String(80), default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer, default=4)
    not_before: Mapped[float] = mapped_column(Float, default=time.time)  # ready since then
    error: Mapped[str] = mapped_column(String, default="")
    result: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    progress: Mapped[int] = mapped_column(Integer, default=0)


@dataclass(frozen=True, slots=True)
class Claim:
    """A unit that this worker holds until `lease_until`, under `fence`."""

    unit_id: str
    task: str
    subject: str
    payload: dict[str, Any]
    fence: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Ages:
    """Seconds; 0 where there is none."""

    oldest_claimable: float
    oldest_lease: float


class WorkUnits:
    """The operations on one service's units. `table` maps `WorkUnitColumns`."""

    def __init__(
        self, database: Database, table: type[Any], *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._database = database
        self._table: type[Any] = table
        self._lease = lease_seconds

    def add(self, session: Session, units: Iterable[DeclarativeBase]) -> None:
        """Add units in the caller's transaction; one that is there already is left as it is.

        Always in the order of their ids: two requests that add the same units then wait for each
        other instead of ending in a deadlock.
        """
        dialect = session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        given = [vars(unit) for unit in units]
        for values in sorted(given, key=lambda values: str(values["id"])):
            columns = {name: values[name] for name in values if not name.startswith("_")}
            session.execute(insert(self._table.__table__).values(columns).on_conflict_do_nothing())

    def claim(self, unit_id: str, *, owner: str) -> Claim | None:
        """Take a unit that is ready or whose lease ran out; `None` where somebody holds it.

        A unit whose last attempt ended without a word fails here: it may be what ends its workers.
        """
        table, now = self._table, time.time()
        with self._database.transaction() as session:
            session.execute(
                update(table)
                .where(
                    table.id == unit_id, _expired(table, now), table.attempts >= table.max_attempts
                )
                .values(state=FAILED, error="the lease of its last attempt ran out")
            )
            taken = session.execute(
                update(table)
                .where(table.id == unit_id, _claimable(table, now))
                .values(
                    state=LEASED,
                    fence=table.fence + 1,
                    attempts=table.attempts + 1,
                    lease_owner=owner,
                    lease_until=now + self._lease,
                )
                .returning(table.task, table.subject, table.payload, table.fence, table.attempts)
            ).first()
        crashpoint("work.claimed")
        return None if taken is None else Claim(unit_id, *taken)

    def heartbeat(self, claim: Claim, *, progress: int | None = None) -> bool:
        """Extend the lease; False means that it is lost and the work should stop."""
        values: dict[str, Any] = {"lease_until": time.time() + self._lease}
        if progress is not None:
            values["progress"] = progress
        with self._database.transaction() as session:
            return self._hold(session, claim, values)

    def complete(self, session: Session, claim: Claim, result: dict[str, Any]) -> bool:
        """Finish the unit in the caller's transaction; False for a stale fence."""
        return self._hold(session, claim, {"state": DONE, "result": result, "error": ""})

    def fail(self, claim: Claim, error: str, *, final: bool = False) -> None:
        """Give the unit back for another attempt with back-off, or fail it for good."""
        with self._database.transaction() as session:
            unit = session.get(self._table, claim.unit_id)
            spent = unit is not None and claim.attempt >= unit.max_attempts
            pause = min(60.0, 2.0 ** (claim.attempt - 1))
            self._hold(
                session,
                claim,
                {
                    "state": FAILED if final or spent else READY,
                    "error": error[:2000],
                    "not_before": time.time() + pause,
                },
            )

    def postpone(self, claim: Claim, reason: str, *, seconds: float) -> None:
        """Give the unit back to be tried later, as if this attempt had not been."""
        values = {
            "state": READY,
            "attempts": claim.attempt - 1,
            "error": reason[:2000],
            "not_before": time.time() + seconds,
        }
        with self._database.transaction() as session:
            self._hold(session, claim, values)

    def claimable(self, *, limit: int = 100) -> list[tuple[str, str]]:
        """(unit id, task) of units that wait for a worker, oldest id first."""
        table = self._table
        with self._database.transaction() as session:
            rows = session.execute(
                select(table.id, table.task)
                .where(_claimable(table, time.time()))
                .order_by(table.id)
                .limit(limit)
            )
            return [(row.id, row.task) for row in rows]

    def ages(self) -> Ages:
        """How long the oldest unit waits, and since when the stalest lease was renewed."""
        table, now = self._table, time.time()
        with self._database.transaction() as session:
            ready = session.scalar(
                select(func.min(table.not_before)).where(
                    table.state == READY, table.not_before <= now
                )
            )
            lease = session.scalar(select(func.min(table.lease_until)).where(table.state == LEASED))
        return Ages(
            oldest_claimable=now - ready if ready else 0.0,
            oldest_lease=now - (lease - self._lease) if lease else 0.0,
        )

    def counts(self, session: Session, subject: str) -> dict[str, int]:
        """Units of a subject by state: the fan-in is this count, never a chord."""
        table = self._table
        rows = session.execute(
            select(table.state, func.count()).where(table.subject == subject).group_by(table.state)
        )
        return {row[0]: row[1] for row in rows}

    def cancel(self, session: Session, subject: str) -> None:
        """Stop what is not done; a worker in the middle loses its fence."""
        table = self._table
        waiting = table.state.in_((READY, PAUSED, LEASED))
        self._lock(session, (table.subject == subject) & waiting)
        session.execute(
            update(table)
            .where(table.subject == subject, waiting)
            .values(state=CANCELLED, fence=table.fence + 1)
        )

    def pause(self, session: Session, subject: str) -> None:
        """Let no worker begin what waits; who is in the middle finishes."""
        self._move(session, subject, READY, PAUSED)

    def resume(self, session: Session, subject: str) -> None:
        """Let workers begin again."""
        self._move(session, subject, PAUSED, READY)

    def _move(self, session: Session, subject: str, state: str, to: str) -> None:
        table = self._table
        held = (table.subject == subject) & (table.state == state)
        self._lock(session, held)
        session.execute(update(table).where(held).values(state=to))

    def retry(self, session: Session, subject: str) -> bool:
        """Give the failed units of a subject all their attempts again; whether there were any."""
        table = self._table
        self._lock(session, (table.subject == subject) & (table.state == FAILED))
        changed = session.execute(
            update(table)
            .where(table.subject == subject, table.state == FAILED)
            .values(state=READY, attempts=0, not_before=time.time(), error="")
        )
        return bool(changed.rowcount)  # type: ignore[attr-defined]

    def release_all(self) -> None:
        """At the start of the only process: whoever held a lease is gone, so give all back."""
        table = self._table
        with self._database.transaction() as session:
            session.execute(
                update(table)
                .where(table.state == LEASED)
                .values(state=READY, attempts=table.attempts - 1)
            )

    def _lock(self, session: Session, which: Any) -> None:
        """Take the rows in the order of their ids, so that overlapping changes cannot deadlock."""
        table = self._table
        session.execute(select(table.id).where(which).order_by(table.id).with_for_update()).all()

    def _hold(self, session: Session, claim: Claim, values: dict[str, Any]) -> bool:
        table = self._table
        changed = session.execute(
            update(table)
            .where(table.id == claim.unit_id, table.state == LEASED, table.fence == claim.fence)
            .values(**values)
        )
        return bool(changed.rowcount)  # type: ignore[attr-defined]


def _claimable(table: type[Any], now: float) -> Any:
    ready = (table.state == READY) & (table.not_before <= now)
    return or_(ready, _expired(table, now))


def _expired(table: type[Any], now: float) -> Any:
    return (table.state == LEASED) & (table.lease_until < now)
