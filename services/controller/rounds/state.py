"""The states of a run and of a round, and their legal transitions. Pure."""

from __future__ import annotations

from typing import Literal

from vila2.schemas.rest.controller import RoundKind, RunState

RoundState = Literal[
    "pending", "captioning", "specialising", "training", "evaluating", "done", "failed", "cancelled"
]
ENDED: frozenset[str] = frozenset({"done", "failed", "cancelled"})
RUN_ENDED: frozenset[str] = frozenset({"finished", "failed", "cancelled"})

# The states of a round after `pending`, by its kind.
STEPS: dict[RoundKind, tuple[RoundState, ...]] = {
    "base": ("training",),
    "baseline": ("training", "evaluating"),
    "self": ("captioning", "training", "evaluating"),
    "specialist": ("specialising", "training", "evaluating"),
    "control": ("training", "evaluating"),
}

# An ended run may resume: a failed one can be retried, and a finished one reopened by a user who
# overrules its last verdict or retries a failed control. Cancelled is final.
_RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    "running": frozenset({"paused", "finished", "failed", "cancelled"}),
    "paused": frozenset({"running", "failed", "cancelled"}),
    "finished": frozenset({"running"}),
    "failed": frozenset({"running", "cancelled"}),
    "cancelled": frozenset(),
}


def next_state(kind: RoundKind, state: RoundState) -> RoundState:
    """The next state of a round after its current step has succeeded.

    Raises `ValueError` for a round that has ended or a state that its kind never has.
    """
    path: tuple[RoundState, ...] = ("pending", *STEPS[kind], "done")
    if state not in path[:-1]:
        raise ValueError(f"a {kind} round in state {state!r} has no next step")
    return path[path.index(state) + 1]


def is_legal(kind: RoundKind, before: RoundState, after: RoundState) -> bool:
    """Whether the platform may make this transition; retries are requested by a user."""
    if before in ENDED:
        return False
    if after in ("failed", "cancelled"):
        return True
    try:
        return next_state(kind, before) == after
    except ValueError:
        return False


def run_may_move(before: RunState, after: RunState) -> bool:
    """Whether this transition of a run is legal."""
    return after in _RUN_MOVES[before]


def retried(kind: RoundKind, failed_in: str) -> RoundState:
    """The state in which a failed round is retried: the step that failed."""
    steps: tuple[RoundState, ...] = ("pending", *STEPS[kind])
    return next((state for state in steps if state == failed_in), "pending")
