"""Run gauges for /metrics: active runs and those that ended within a day, with rounds.

`RunWatch` also knows since when nothing has moved. A run may train for weeks without an event, so
progress reported by the jobs counts too; the reconciler reads it at each tick.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Sequence

from sqlalchemy import or_, select

from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import (
    ROUND_SCORE,
    ROUND_STATE,
    ROUND_VERDICT,
    RUN_INFO,
    RUN_MOVED,
    RUN_STARTED,
    RUNS_NOW,
)
from services.controller.tables import RoundRow, RunRow

KEPT_SECONDS = 24 * 3600.0
_IN_HAND = ("running", "paused")


class RunWatch:
    """Tracks how long each running run has made no progress."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._moved: dict[str, tuple[Hashable, float]] = {}

    def saw(self, run: str, signs: Hashable) -> None:
        """Record a run's progress signs; after a restart the time counts from the first call."""
        known = self._moved.get(run)
        if known is None or known[0] != signs:
            self._moved[run] = (signs, self._clock())

    def only(self, runs: Sequence[str]) -> None:
        """Forget all other runs; takes effect at the next scrape."""
        self._moved = {run: self._moved[run] for run in runs if run in self._moved}
        RUN_MOVED.show({(run,): since for run, (_, since) in self._moved.items()})


def measure(database: Database) -> None:
    """Set the gauges of runs and rounds from the tables."""
    with database.reading() as session:
        runs = session.scalars(
            select(RunRow).where(
                or_(
                    RunRow.state.in_(_IN_HAND),
                    RunRow.finished_at > time.time() - KEPT_SECONDS,
                )
            )
        ).all()
        rounds = session.scalars(
            select(RoundRow).where(RoundRow.run_id.in_([run.id for run in runs]))
        ).all()
    for state in _IN_HAND:
        RUNS_NOW.labels(state).set(sum(run.state == state for run in runs))
    RUN_INFO.show({(run.id, run.name, run.team, run.state): 1.0 for run in runs})
    RUN_STARTED.show({(run.id,): run.created_at for run in runs})
    ROUND_STATE.show({(row.run_id, row.name, row.state): 1.0 for row in rounds})
    ROUND_VERDICT.show(
        {(row.run_id, row.name, str(row.verdict["kind"])): 1.0 for row in rounds if row.verdict}
    )
    ROUND_SCORE.show(
        {
            (row.run_id, row.name, benchmark): float(score["score"])
            for row in rounds
            for benchmark, score in (row.scores or {}).items()
        }
    )
