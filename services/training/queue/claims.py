"""Claims: a job is claimed before it is started, so that two dispatchers cannot both start it.

Planning and claiming are one exclusive transaction. The claim is held with a fence until a lease
ends. If the dispatcher dies before that, the next one takes the job over and submits it again; the
backend adopts whatever already runs under the job's key.
"""

from __future__ import annotations

from sqlalchemy import Select, func, select, update

from services.chassis.storage.database import Database, exclusively
from services.training.queue.attempts import open_attempt
from services.training.queue.planner import Waiting, plan
from services.training.queue.teams import holding_a_slot, standings
from services.training.tables import JobRow


class Claims:
    """Takes jobs for one dispatcher."""

    def __init__(self, database: Database, *, slots: int, lease_seconds: float) -> None:
        self._database, self._slots, self._lease = database, slots, lease_seconds

    def next(self) -> JobRow | None:
        """Claim the job that should start now, or None; records why the others wait."""
        with self._database.transaction() as session:
            exclusively(session, "dispatch")
            now = self._database.time(session)
            rows = {row.id: row for row in session.scalars(_queued())}
            if not rows:
                return None
            running = session.scalar(
                select(func.count()).select_from(JobRow).where(holding_a_slot())
            )
            planned = plan(
                [_waiting(row) for row in rows.values()],
                standings(session, {row.team for row in rows.values()}, now),
                running=running or 0,
                slots=self._slots,
            )
            for job, reason in planned.reasons.items():
                if rows[job].waiting != reason:
                    rows[job].waiting = reason
            if not planned.start:
                return None
            row = rows[planned.start[0]]
            row.state, row.waiting = "starting", ""
            row.attempt, row.fence = row.attempt + 1, row.fence + 1
            row.lease_until = now + self._lease
            open_attempt(session, row, now)
            session.flush()
            return row

    def left_behind(self) -> JobRow | None:
        """Claim a job whose dispatcher died before it had finished starting it."""
        with self._database.transaction() as session:
            exclusively(session, "dispatch")
            now = self._database.time(session)
            row = session.scalar(
                select(JobRow)
                .where(JobRow.state == "starting", JobRow.lease_until < now)
                .order_by(JobRow.lease_until)
                .limit(1)
            )
            if row is not None:
                row.fence, row.lease_until = row.fence + 1, now + self._lease
            return row

    def renew(self, row: JobRow) -> bool:
        """Renew our lease on a job; False if the job is no longer ours."""
        with self._database.transaction() as session:
            changed = session.execute(
                update(JobRow)
                .where(JobRow.id == row.id, JobRow.state == "starting", JobRow.fence == row.fence)
                .values(lease_until=self._database.now() + self._lease)
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def release_all(self) -> None:
        """End all leases; only for a process that is the sole dispatcher."""
        with self._database.transaction() as session:
            session.execute(update(JobRow).where(JobRow.state == "starting").values(lease_until=0))


def _queued() -> Select[JobRow]:
    return select(JobRow).where(JobRow.state == "queued", JobRow.children == 0)


def _waiting(row: JobRow) -> Waiting:
    return Waiting(row.id, row.team, row.unit, row.processes, row.priority, row.created_at)
