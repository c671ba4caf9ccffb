"""Stopping a run, and what other services do for it."""

from __future__ import annotations

from services.controller.runs import Runs
from services.controller.state import ENDED
from services.controller.tables import RunRow
from vila2.client import Client


def cancel_run(
    runs: Runs, platform: Client, run: RunRow, *, reason: str = "cancelled by its owner"
) -> None:
    """End the run first, so that nothing new is asked for, then stop what was asked for."""
    rounds = [row for row in runs.rounds(run.id) if row.state not in ENDED]
    runs.end_run(run, "cancelled", reason, error=reason)
    for row in rounds:
        for job in (row.train_job, row.evaluate_job):
            if job:
                platform.training.cancel(job)
        if row.layer_job:
            platform.caption.cancel_layer(row.layer_job)
        for specialist in row.specialists.values():
            platform.specialist.cancel(specialist)
