"""Retrying a failed round: the failed job resumes, or the step gets a new key.

A training resumes from its checkpoint and a layer from its sealed shards, so the same job is asked
to resume if possible. What cannot resume, such as a specialist, is dropped and requested again. Of
a round with several seeds those go on that failed: what the others made stays.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from services.controller.rounds.seeds import mark
from services.controller.rounds.state import retried
from services.controller.tables import RoundRow
from vila2.client import Client

_AGAIN = ("failed", "cancelled")


def prepare(platform: Client, row: RoundRow) -> dict[str, Any]:
    """Ask the failed service to resume; returns the changed columns of the round's row.

    Safe to repeat: work that is already running again is not touched.
    """
    state = retried(row.kind, row.failed_in)  # type: ignore[arg-type]
    values: dict[str, Any] = {"state": state, "error": "", "failed_in": "", "ended_at": 0.0}
    anew: list[str] = []
    if state == "captioning" and row.layer_job:
        layer = platform.caption.job(row.layer_job)
        if layer.state == "failed":
            platform.caption.retry_failed(row.layer_job)
        elif layer.state == "cancelled":
            anew.append("caption")
    if state == "specialising":
        for name, held in row.specialists.items():
            if platform.specialist.get(held).state in _AGAIN:
                anew.append(name)
    for what, job in _jobs_of(row, state).items():
        found = platform.training.job(job).state
        if found in _AGAIN:
            platform.training.retry(job)
        elif found == "stopped":  # by its own rule: there is nothing to go on with
            anew.append(what)
    if anew:
        values["tries"] = {**row.tries, **{what: row.tries.get(what, 0) + 1 for what in anew}}
        values |= _forgotten(row, anew)
    return values


def _forgotten(row: RoundRow, anew: Collection[str]) -> dict[str, Any]:
    """The row's columns without the results of the restarted steps, named as in their keys."""
    values: dict[str, Any] = {
        "specialists": {name: held for name, held in row.specialists.items() if name not in anew},
        "seed_evaluations": {
            seed: job
            for seed, job in row.seed_evaluations.items()
            if f"evaluate{mark(seed, row.seed_models)}" not in anew
        },
    }
    for what, column in (("caption", "layer_job"), ("train", "train_job")):
        if what in anew:
            values[column] = ""
    if any(what.startswith("evaluate") for what in anew):
        values["evaluate_job"] = next(iter(values["seed_evaluations"].values()), "")
    return values


def _jobs_of(row: RoundRow, state: str) -> dict[str, str]:
    """What a step is called in its keys -> its job; an evaluation is a step for each seed."""
    if state == "training":
        held = {"train": row.train_job}
    elif state == "evaluating":
        held = {
            f"evaluate{mark(seed, row.seed_models)}": job
            for seed, job in row.seed_evaluations.items()
        }
        held = held or {"evaluate": row.evaluate_job}
    else:
        held = {}
    return {what: job for what, job in held.items() if job}
