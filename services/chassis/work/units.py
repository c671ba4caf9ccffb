"""Work units: durable rows of short tasks, claimed by lease and completed under a fence.

A worker claims a unit and gets a *fence* (fencing token), one higher than any before. It writes its
output under a key that includes the fence, then completes the unit by compare-and-set, so the
output of a worker whose lease has expired is ignored. Every transition is one UPDATE conditioned on
the current state and fence. This is correct both in PostgreSQL, where writers overlap (the second
waits for the row lock and then finds the row changed), and in SQLite, where writers are serialized.

Ready rows are the outbox: a relay publishes a hint for each until a worker claims it, so lost and
duplicate messages are harmless.

All times come from the database (`Database.now`), so clock skew between workers cannot end a lease
early.

A table may hold millions of units, so every query made while work is in progress uses one index,
`(state, subject, not_before, id)`, and its cost does not grow with the table.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Float, Index, Integer, String, func, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, declared_attr, mapped_column

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import LEASES_LOST
from vila2.system import tracing

READY, LEASED, DONE, FAILED, CANCELLED = "ready", "leased", "done", "failed", "cancelled"
PAUSED = "paused"
RECORDED = "recorded"  # done, and included in its subject's totals
STATES = (READY, LEASED, DONE, FAILED, CANCELLED, PAUSED, RECORDED)
LEASE_SECONDS = 60.0
TRACE = tracing.HEADER  # payload key of the trace context the unit was added in


class Postponed(Exception):  # named for the unit's outcome
    """A dependency is unavailable; the unit is retried later without consuming an attempt."""


class WorkUnitColumns:
    """The columns of a service's `work_units` table; the service owns the table."""

    @declared_attr.directive
    def __table_args__(cls) -> tuple[Index]:
        """The only index: a second one would add a write to every state change."""
        return (Index("ix_work_units_state_subject", "state", "subject", "not_before", "id"),)

    id: Mapped[str] = mapped_column(String(200), primary_key=True)
    task: Mapped[str] = mapped_column(String(60))
    subject: Mapped[str] = mapped_column(String(60))
    payload: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(12), default=READY)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_owner: Mapped[str] = mapped_column(String(80), default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    attempts: Mapped[int] = mapped_column(Integer, default=0)
    max_attempts: Mapped[int] = mapped_column(Integer, default=4)
    not_before: Mapped[float] = mapped_column(
        Float, default=time.time
    )  # when it became or becomes ready
    error: Mapped[str] = mapped_column(String, default="")
    result: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    progress: Mapped[int] = mapped_column(Integer, default=0)


@dataclass(frozen=True, slots=True)
class Claim:
    """A unit that this worker holds until `lease_until`, under `fence`.

    `taken_over` is true if a previous worker's lease on it expired.
    """

    unit_id: str
    task: str
    subject: str
    payload: dict[str, Any]
    fence: int
    attempt: int
    taken_over: bool = False

    @property
    def trace(self) -> str:
        """The traceparent the unit was added with, or an empty string."""
        return str(self.payload.get(TRACE, ""))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A unit ready since `since` (Unix time, seconds), added in the trace `trace`."""

    unit_id: str
    task: str
    since: float
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Ages:
    """Ages in seconds; 0 if there is no such unit."""

    oldest_claimable: float
    oldest_lease: float


class WorkUnits:
    """Operations on one service's units; `table` is the class that maps `WorkUnitColumns`."""

    def __init__(
        self, database: Database, table: type[Any], *, lease_seconds: float = LEASE_SECONDS
    ) -> None:
        self._database = database
        self.table: type[Any] = table
        self.lease_seconds = lease_seconds

    def add(self, session: Session, units: Iterable[DeclarativeBase]) -> None:
        """Add units in the caller's transaction; existing units are left unchanged.

        Rows are inserted in id order, so two requests that add the same units cannot deadlock. The
        units inherit the caller's trace context.
        """
        dialect = session.get_bind().dialect.name
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        given = [
            {name: value for name, value in vars(unit).items() if not name.startswith("_")}
            for unit in units
        ]
        if tracing.current():
            for values in given:
                values["payload"] = {**values["payload"], TRACE: tracing.current()}
        if given:
            given.sort(key=lambda values: str(values["id"]))
            adding = insert(self.table.__table__).on_conflict_do_nothing()
            if not any("not_before" in values for values in given):
                adding = adding.values(not_before=self._database.now())
            session.execute(adding, given)

    def claim(self, unit_id: str, *, owner: str) -> Claim | None:
        """Claim a unit that is ready or whose lease has expired; `None` if another worker holds it.

        If the lease of its last attempt expired, the unit fails here: it may be crashing workers.
        """
        table, now = self.table, self._database.now()
        spent = _expired(table, now) & (table.attempts >= table.max_attempts)
        with self._database.transaction() as session:
            # Only for the metric: UPDATE does not return a row's previous values.
            before = session.scalar(select(table.state).where(table.id == unit_id))
            taken = session.execute(
                update(table)
                .where(table.id == unit_id, _claimable(table, now), ~spent)
                .values(
                    state=LEASED,
                    fence=table.fence + 1,
                    attempts=table.attempts + 1,
                    lease_owner=owner,
                    lease_until=now + self.lease_seconds,
                )
                .returning(table.task, table.subject, table.payload, table.fence, table.attempts)
            ).first()
            if taken is None:
                session.execute(
                    update(table)
                    .where(table.id == unit_id, spent)
                    .values(state=FAILED, error="the lease of its last attempt ran out")
                )
        crashpoint("work.claimed")
        if taken is None:
            return None
        task, subject, payload, fence, attempt = taken
        return Claim(unit_id, task, subject, payload, fence, attempt, taken_over=before == LEASED)

    def heartbeat(self, claim: Claim, *, progress: int | None = None) -> bool:
        """Extend the lease; False if it was lost and the work should stop."""
        values: dict[str, Any] = {"lease_until": self._database.now() + self.lease_seconds}
        if progress is not None:
            values["progress"] = progress
        with self._database.transaction() as session:
            return self._hold(session, claim, values)

    def holds(self, session: Session, claim: Claim) -> bool:
        """Whether the claim is still valid; locks the unit until the transaction ends."""
        table = self.table
        held = (table.id == claim.unit_id) & (table.state == LEASED) & (table.fence == claim.fence)
        return session.scalar(select(table.id).where(held).with_for_update()) is not None

    def complete(self, session: Session, claim: Claim, result: dict[str, Any]) -> bool:
        """Finish the unit in the caller's transaction; False for a stale fence."""
        return self._end(session, claim, {"state": DONE, "result": result, "error": ""})

    def fail(self, claim: Claim, error: str, *, final: bool = False) -> None:
        """Return the unit for another attempt with back-off, or fail it permanently."""
        with self._database.transaction() as session:
            unit = session.get(self.table, claim.unit_id)
            spent = unit is not None and claim.attempt >= unit.max_attempts
            pause = min(60.0, 2.0 ** (claim.attempt - 1))
            self._end(
                session,
                claim,
                {
                    "state": FAILED if final or spent else READY,
                    "error": error[:2000],
                    "not_before": self._database.now() + pause,
                },
            )

    def postpone(self, claim: Claim, reason: str, *, seconds: float) -> None:
        """Return the unit for a retry in `seconds` without consuming an attempt."""
        values = {
            "state": READY,
            "attempts": claim.attempt - 1,
            "error": reason[:2000],
            "not_before": self._database.now() + seconds,
        }
        with self._database.transaction() as session:
            self._end(session, claim, values)

    def waiting_subjects(self, *, after: str = "", limit: int = 100) -> list[str]:
        """Subjects after `after` that have ready units, in order; one index seek each."""
        table = self.table
        found: list[str] = []
        with self._database.reading() as session:
            while len(found) < limit:
                subject = session.scalar(
                    select(table.subject)
                    .where(table.state == READY, table.subject > (found[-1] if found else after))
                    .order_by(table.subject)
                    .limit(1)
                )
                if subject is None:
                    break
                found.append(subject)
        return found

    def waiting(
        self, subject: str, *, after: tuple[float, str] = (0.0, ""), limit: int = 100
    ) -> list[Waiting]:
        """Ready units of a subject, longest wait first, after cursor `after` (since, unit id)."""
        table = self.table
        with self._database.reading() as session:
            rows = session.execute(
                select(table.id, table.task, table.not_before, table.payload)
                .where(
                    table.state == READY,
                    table.subject == subject,
                    table.not_before <= self._database.now(),
                    tuple_(table.not_before, table.id) > after,
                )
                .order_by(table.not_before, table.id)
                .limit(limit)
            )
            return [
                Waiting(unit, task, since, str(payload.get(TRACE, "")))
                for unit, task, since, payload in rows
            ]

    def in_hand(
        self, session: Session, subject: str, *, page: int = 1000
    ) -> Iterator[tuple[str, dict[str, Any], int]]:
        """(state, result, progress) of units that are leased, or done but not yet recorded."""
        table = self.table
        # Read in pages in index order: with statistics from a time when many rows were done,
        # PostgreSQL would scan the whole table for the few that remain.
        for state in (LEASED, DONE):
            after = (-1.0, "")
            while True:
                rows = session.execute(
                    select(table.not_before, table.id, table.result, table.progress)
                    .where(_of(table, subject, state), tuple_(table.not_before, table.id) > after)
                    .order_by(table.not_before, table.id)
                    .limit(page)
                ).all()
                yield from ((state, row.result, row.progress) for row in rows)
                if len(rows) < page:
                    break
                after = (rows[-1].not_before, rows[-1].id)

    def expired(self, *, limit: int = 100) -> list[tuple[str, str]]:
        """(unit id, task) of units whose lease has expired."""
        table = self.table
        lapsed = _expired(table, self._database.now())
        with self._database.reading() as session:
            rows = session.execute(select(table.id, table.task).where(lapsed).limit(limit))
            return [(row.id, row.task) for row in rows]

    def claimable(self, *, limit: int = 100) -> list[tuple[str, str]]:
        """(unit id, task) of units that can be claimed; those with expired leases come first."""
        found = self.expired(limit=limit)
        for subject in self.waiting_subjects():
            if len(found) >= limit:
                break
            held = self.waiting(subject, limit=limit - len(found))
            found += [(unit.unit_id, unit.task) for unit in held]
        return found

    def ages(self) -> Ages:
        """How long the oldest unit has waited, and the time since the stalest lease was renewed."""
        table = self.table
        oldest = [
            unit.since
            for subject in self.waiting_subjects()
            for unit in self.waiting(subject, limit=1)
        ]
        with self._database.reading() as session:
            now = self._database.time(session)
            lease = session.scalar(select(func.min(table.lease_until)).where(table.state == LEASED))
        return Ages(
            oldest_claimable=max(0.0, now - min(oldest)) if oldest else 0.0,
            oldest_lease=now - (lease - self.lease_seconds) if lease else 0.0,
        )

    def unfinished(self, session: Session, subject: str) -> bool:
        """Whether any unit of the subject has not ended; the fan-in check made after each unit."""
        table = self.table
        # One query per state, in index order: for any row in the three states, PostgreSQL expects
        # to find one early and scans the table.
        return any(
            session.scalar(
                select(table.id)
                .where(_of(table, subject, state))
                .order_by(table.not_before, table.id)
                .limit(1)
            )
            is not None
            for state in (READY, LEASED, PAUSED)
        )

    def record(self, session: Session, unit_ids: Sequence[str]) -> list[dict[str, Any]]:
        """Mark done units as recorded; returns the results of those not recorded before."""
        table = self.table
        rows = session.scalars(
            update(table)
            # Written so that PostgreSQL looks the units up by id and not through the index on
            # states, which would visit every done unit.
            .where(table.id.in_(unit_ids), table.state.concat("") == DONE)
            .values(state=RECORDED)
            .returning(table.result)
        )
        return list(rows)

    def counts(self, session: Session, subject: str) -> dict[str, int]:
        """Number of units by state; reads one index entry per unit, so call it rarely."""
        table = self.table
        rows = session.execute(
            select(table.state, func.count())
            .where(_of(table, subject, *STATES))
            .group_by(table.state)
        )
        return {row[0]: row[1] for row in rows}

    def cancel(self, session: Session, subject: str) -> None:
        """Cancel unfinished units; workers running one lose their fence."""
        table = self.table
        waiting = _of(table, subject, READY, PAUSED, LEASED)
        self._lock(session, waiting)
        session.execute(update(table).where(waiting).values(state=CANCELLED, fence=table.fence + 1))

    def pause(self, session: Session, subject: str) -> None:
        """Hold back waiting units; running ones finish."""
        self._move(session, subject, READY, PAUSED)

    def resume(self, session: Session, subject: str) -> None:
        """Release units held back by `pause`."""
        self._move(session, subject, PAUSED, READY)

    def _move(self, session: Session, subject: str, state: str, to: str) -> None:
        table = self.table
        held = _of(table, subject, state)
        self._lock(session, held)
        session.execute(update(table).where(held).values(state=to))

    def retry(self, session: Session, subject: str) -> bool:
        """Reset the attempts of a subject's failed units; returns whether there were any."""
        table = self.table
        failed = _of(table, subject, FAILED)
        self._lock(session, failed)
        changed = session.execute(
            update(table)
            .where(failed)
            .values(state=READY, attempts=0, not_before=self._database.now(), error="")
        )
        return bool(changed.rowcount)  # type: ignore[attr-defined]

    def release_all(self) -> None:
        """Release every lease; only valid when the sole process starts, as no owner is alive."""
        table = self.table
        with self._database.transaction() as session:
            session.execute(
                update(table)
                .where(table.state == LEASED)
                .values(state=READY, attempts=table.attempts - 1)
            )

    def _lock(self, session: Session, which: Any) -> None:
        """Lock the rows in id order, so that overlapping changes cannot deadlock."""
        table = self.table
        held = select(table.id).where(which).order_by(table.id).with_for_update().subquery()
        # Select a count, so that up to a million ids are not transferred.
        session.execute(select(func.count()).select_from(held))

    def _end(self, session: Session, claim: Claim, values: dict[str, Any]) -> bool:
        held = self._hold(session, claim, values)
        if not held:
            LEASES_LOST.labels(claim.task).inc()
        return held

    def _hold(self, session: Session, claim: Claim, values: dict[str, Any]) -> bool:
        table = self.table
        changed = session.execute(
            update(table)
            .where(table.id == claim.unit_id, table.state == LEASED, table.fence == claim.fence)
            .values(**values)
        )
        return bool(changed.rowcount)  # type: ignore[attr-defined]


def _of(table: type[Any], subject: str, *states: str) -> Any:
    which = table.state == states[0] if len(states) == 1 else table.state.in_(states)
    return which & (table.subject == subject)


def _claimable(table: type[Any], now: Any) -> Any:
    ready = (table.state == READY) & (table.not_before <= now)
    return or_(ready, _expired(table, now))


def _expired(table: type[Any], now: Any) -> Any:
    return (table.state == LEASED) & (table.lease_until < now)
