"""The queue's gauges for Prometheus, set from what the tables say."""

from __future__ import annotations

from itertools import product

from sqlalchemy import func, select

from services.chassis.database import Database
from services.chassis.metrics import JOB_HOURS, JOBS_NOW
from services.training.queueing.attempts import Accounts
from services.training.tables import JobRow

_ACTIVE = ("queued", "starting", "running")


def measure(database: Database, accounts: Accounts) -> None:
    """Set jobs by state, and what every team has used so far."""
    with database.transaction() as session:
        counts = {
            (kind, state): count
            for kind, state, count in session.execute(
                select(JobRow.kind, JobRow.state, func.count())
                .where(JobRow.state.in_(_ACTIVE), JobRow.children == 0)
                .group_by(JobRow.kind, JobRow.state)
            )
        }
    for kind, state in product(("train", "evaluate"), _ACTIVE):
        JOBS_NOW.labels(kind, state).set(counts.get((kind, state), 0))
    for usage in accounts.usage(None, "team"):
        JOB_HOURS.labels(usage.team, "gpu").set(usage.gpu_hours)
        JOB_HOURS.labels(usage.team, "process").set(usage.process_hours)
