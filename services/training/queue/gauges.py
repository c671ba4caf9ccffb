"""Prometheus gauges of the queue and of running jobs' progress."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import product

from sqlalchemy import func, select

from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import (
    JOB_ETA,
    JOB_HOURS,
    JOB_IDLE,
    JOB_LOSS,
    JOB_MFU,
    JOB_PROGRESS,
    JOB_TOKENS,
    JOB_WAIT,
    JOBS_NOW,
)
from services.training.jobs.files import JobFiles
from services.training.queue.attempts import Accounts
from services.training.tables import JobRow

_ACTIVE = ("queued", "starting", "running")
_KINDS = ("train", "evaluate")
# The key in `progress.json`.
_TOLD = {
    "fraction": JOB_PROGRESS,
    "eta_seconds": JOB_ETA,
    "loss": JOB_LOSS,
    "tokens_per_second": JOB_TOKENS,
    "mfu": JOB_MFU,
    "idle": JOB_IDLE,
}


def measure(database: Database, accounts: Accounts, files: JobFiles) -> None:
    """Set the number of jobs by state, every team's usage, and the progress of running jobs."""
    with database.reading() as session:
        counts = {
            (kind, state): count
            for kind, state, count in session.execute(
                select(JobRow.kind, JobRow.state, func.count())
                .where(JobRow.state.in_(_ACTIVE), JobRow.children == 0)
                .group_by(JobRow.kind, JobRow.state)
            )
        }
        oldest = (
            select(JobRow.kind, func.min(JobRow.created_at))
            .where(JobRow.state == "queued", JobRow.children == 0)
            .group_by(JobRow.kind)
        )
        since = dict(session.execute(oldest).tuples().all())
        running = session.scalars(
            select(JobRow).where(JobRow.state == "running", JobRow.children == 0)
        ).all()
    now = time.time()
    for kind in _KINDS:
        JOB_WAIT.labels(kind).set(max(0.0, now - since[kind]) if kind in since else 0.0)
    for kind, state in product(_KINDS, _ACTIVE):
        JOBS_NOW.labels(kind, state).set(counts.get((kind, state), 0))
    for usage in accounts.usage(None, "team"):
        JOB_HOURS.labels(usage.team, "gpu").set(usage.gpu_hours)
        JOB_HOURS.labels(usage.team, "process").set(usage.process_hours)
    _show(running, files)


def _show(running: Sequence[JobRow], files: JobFiles) -> None:
    told = [(row, files.told(row.id)) for row in running]
    for name, gauge in _TOLD.items():
        gauge.show(
            {
                # Other phases are sentences; each would create a time series of its own.
                (row.id, row.run, row.name, str(said["phase"]) if "loss" in said else ""): float(
                    said[name]
                )
                for row, said in told
                if said.get(name) is not None
            }
        )
