"""Attempts: resource usage of every job, for fair scheduling, quotas and accounting."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import ColumnElement, case, func, or_, select, update
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.training.queue.quotas import HOUR, Used
from services.training.tables import AttemptRow, JobRow
from vila2.schemas.rest.training import Usage


def open_attempt(session: Session, row: JobRow, now: float) -> None:
    """Open an attempt, unless the job already has an open one."""
    numbers = session.execute(
        select(AttemptRow.number, AttemptRow.ended_at).where(AttemptRow.job == row.id)
    ).all()
    if any(not ended_at for _, ended_at in numbers):
        return
    session.add(
        AttemptRow(
            job=row.id,
            number=1 + max((number for number, _ in numbers), default=0),
            team=row.team,
            run=row.run,
            unit=row.unit,
            processes=row.processes,
            started_at=now,
        )
    )


def latest_attempt(session: Session, job: str) -> int:
    """The number of a job's newest attempt, from 1; 0 if there is none."""
    newest = session.scalar(select(func.max(AttemptRow.number)).where(AttemptRow.job == job))
    return newest or 0


def close_attempt(session: Session, job: str, ended: str, at: float) -> None:
    """Close the job's open attempt as of `at`, if it has one."""
    running = (AttemptRow.job == job) & (AttemptRow.ended_at == 0)
    end = case((AttemptRow.started_at > at, AttemptRow.started_at), else_=at)
    session.execute(update(AttemptRow).where(running).values(ended=ended, ended_at=end))


def hours_by_team(session: Session, since: float, now: float) -> dict[tuple[str, str], float]:
    """(team, unit) -> process-hours since `since`; open attempts count until now."""
    rows = session.execute(
        select(AttemptRow.team, AttemptRow.unit, _hours(since, now))
        .where(_after(since))
        .group_by(AttemptRow.team, AttemptRow.unit)
    )
    return {(team, unit): float(hours or 0.0) for team, unit, hours in rows}


def used_by(session: Session, team: str, unit: str, since: float, now: float) -> list[Used]:
    """A team's attempts that reach past `since`."""
    rows = session.scalars(
        select(AttemptRow).where(AttemptRow.team == team, AttemptRow.unit == unit, _after(since))
    )
    return [Used(row.started_at, row.ended_at or now, row.processes) for row in rows]


class Accounts:
    """Reports usage by team or by run."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def usage(
        self,
        team: str | None,
        by: Literal["team", "run"],
        *,
        since: float = 0.0,
        until: float | None = None,
    ) -> list[Usage]:
        """Usage of a team (None: of every team) between two times."""
        now = min(time.time(), until) if until is not None else time.time()
        if since >= now:
            return []  # an attempt that runs would count negative hours
        keys: Sequence[Any] = [AttemptRow.team]
        if by == "run":
            keys = [AttemptRow.team, AttemptRow.run]
        chosen = select(
            *keys,
            AttemptRow.unit,
            _hours(since, now),
            func.count(AttemptRow.job.distinct()),
            func.count(),
        ).where(_after(since), AttemptRow.started_at < now)
        if team is not None:
            chosen = chosen.where(AttemptRow.team == team)
        with self._database.transaction() as session:
            rows = session.execute(chosen.group_by(*keys, AttemptRow.unit).order_by(*keys)).all()
        found: dict[tuple[str, ...], Usage] = {}
        for *key, unit, hours, jobs, attempts in rows:
            name, run = (*key, "")[:2]
            held = found.setdefault(
                tuple(key),
                Usage(team=name, run=run, gpu_hours=0, process_hours=0, jobs=0, attempts=0),
            )
            field = "gpu_hours" if unit == "gpu" else "process_hours"
            setattr(held, field, round(float(hours or 0.0), 6))
            held.jobs += jobs
            held.attempts += attempts
        return list(found.values())

    def of_jobs(self, jobs: Sequence[str]) -> Mapping[str, float]:
        """Job -> seconds over all its attempts, for jobs that have any."""
        now = time.time()
        with self._database.transaction() as session:
            rows = session.execute(
                select(AttemptRow.job, func.sum(_end(now) - AttemptRow.started_at))
                .where(AttemptRow.job.in_(jobs))
                .group_by(AttemptRow.job)
            )
            return {job: float(seconds) for job, seconds in rows}


def _after(since: float) -> ColumnElement[bool]:
    return or_(AttemptRow.ended_at == 0, AttemptRow.ended_at > since)


def _end(now: float) -> ColumnElement[float]:
    ended = or_(AttemptRow.ended_at == 0, AttemptRow.ended_at > now)
    return case((ended, now), else_=AttemptRow.ended_at)


def _hours(since: float, now: float) -> ColumnElement[Any]:
    start = case((AttemptRow.started_at < since, since), else_=AttemptRow.started_at)
    return func.sum(AttemptRow.processes * (_end(now) - start)) / HOUR
