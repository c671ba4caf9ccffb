"""Teams' quotas: set, read, and compared with each team's usage."""

from __future__ import annotations

import time
from collections.abc import Iterable

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.web.paging import Page
from services.training.queue.attempts import hours_by_team, used_by
from services.training.queue.planner import Team
from services.training.queue.quotas import free_again, hours, spent_sentence, window_start
from services.training.tables import JobRow, QuotaRow
from vila2.schemas.rest.training import Quota, QuotaIn

_RECENT = 24 * 3600.0


class Quotas:
    """Owns the table `quotas`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, team: str, body: QuotaIn, *, by: str) -> Quota:
        """Replace a team's quota; it applies from the next job on."""
        values = body.model_dump()
        values["period"] = values.pop("window")
        with self._database.transaction() as session:
            exclusively(session, f"quota:{team}")
            row = session.get(QuotaRow, team) or QuotaRow(team=team)
            for name, value in values.items():
                setattr(row, name, value)
            row.set_by, row.set_at = by, time.time()
            session.add(row)
            session.flush()
            return _quota(session, team, row)

    def get(self, team: str) -> Quota:
        """A team's quota and its usage."""
        with self._database.transaction() as session:
            return _quota(session, team, session.get(QuotaRow, team))

    def all(self, page: Page) -> list[Quota]:
        """Every quota that was set, by team."""
        with self._database.reading() as session:
            rows = page.rows(session, select(QuotaRow), QuotaRow.team)
            return [_quota(session, row.team, row) for row in rows]


def holding_a_slot() -> ColumnElement[bool]:
    """Jobs that a backend may be running, including cancelled ones that it has not stopped yet."""
    return (JobRow.children == 0) & or_(
        JobRow.state.in_(("starting", "running")),
        JobRow.state.in_(("cancelled", "stopped")) & (JobRow.handle != ""),
    )


def standings(session: Session, names: Iterable[str], now: float) -> dict[str, Team]:
    """Every team's usage and quota state, for the planner."""
    recent = hours_by_team(session, now - _RECENT, now)
    busy = {
        team: (jobs, processes)
        for team, jobs, processes in session.execute(
            select(JobRow.team, func.count(), func.sum(JobRow.processes))
            .where(holding_a_slot())
            .group_by(JobRow.team)
        )
    }
    found = {}
    for name in names:
        row = session.get(QuotaRow, name)
        jobs, processes = busy.get(name, (0, 0))
        found[name] = Team(
            running=jobs,
            busy=processes,
            recent=recent.get((name, "gpu"), 0.0) + recent.get((name, "process"), 0.0),
            share=row.share if row else 1.0,
            max_jobs=row.max_jobs if row else None,
            spent=_spent(session, row, now) if row else {},
        )
    return found


def _spent(session: Session, row: QuotaRow, now: float) -> dict[str, str]:
    spent = {}
    since = window_start(row.period, now)
    for unit, limit in (("gpu", row.gpu_hours), ("process", row.process_hours)):
        if limit is None:
            continue
        used = used_by(session, row.team, unit, since, now)
        if hours(used, since) >= limit:
            until = free_again(row.period, limit, used, now)
            spent[unit] = spent_sentence(unit, row.period, limit, until)
    return spent


def _quota(session: Session, team: str, row: QuotaRow | None) -> Quota:
    now = time.time()
    limits = (
        QuotaIn(
            gpu_hours=row.gpu_hours,
            process_hours=row.process_hours,
            window=row.period,  # type: ignore[arg-type]
            max_jobs=row.max_jobs,
            share=row.share,
        )
        if row
        else QuotaIn()
    )
    used = hours_by_team(session, window_start(limits.window, now), now)
    running = session.scalar(
        select(func.count()).select_from(JobRow).where(JobRow.team == team, holding_a_slot())
    )
    return Quota(
        **limits.model_dump(),
        team=team,
        gpu_hours_used=round(used.get((team, "gpu"), 0.0), 6),
        process_hours_used=round(used.get((team, "process"), 0.0), 6),
        running=running or 0,
        set_by=row.set_by if row else "",
    )
