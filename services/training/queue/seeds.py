"""A job with several seeds and its child jobs, one per seed. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from vila2.schemas.rest.training import JobIn, JobState

ENDED = ("succeeded", "stopped", "failed", "cancelled")


def child_body(body: JobIn, seed: int) -> JobIn:
    """The child job for one seed."""
    assert body.train is not None  # checked by submit
    return body.model_copy(
        update={
            "name": f"{body.name}-s{seed}",
            "seeds": [],
            "train": body.train.model_copy(update={"seed": seed}),
        }
    )


def together(states: Sequence[JobState]) -> JobState:
    """The state of the parent job: it ends when all have ended, and succeeds only if all did."""
    if any(state not in ENDED for state in states):
        return "queued" if all(state == "queued" for state in states) else "running"
    for state in ("failed", "cancelled", "stopped"):
        if state in states:
            return state
    return "succeeded"
