"""The states of a run and of a round, and the moves that are legal. Pure."""

from __future__ import annotations

from typing import Literal

from vila2.schemas.rest.controller import RoundKind, RunState

RoundState = Literal[
    "pending", "captioning", "specialising", "training", "evaluating", "done", "failed", "cancelled"
]
ENDED: frozenset[str] = frozenset({"done", "failed", "cancelled"})
RUN_ENDED: frozenset[str] = frozenset({"finished", "failed", "cancelled"})

# What a round goes through after `pending`, by its kind.
STEPS: dict[RoundKind, tuple[RoundState, ...]] = {
    "base": ("training",),
    "baseline": ("training", "evaluating"),
    "self": ("captioning", "training", "evaluating"),
    "specialist": ("specialising", "training", "evaluating"),
    "control": ("training", "evaluating"),
}

# Who ended may go on: a failed run is tried again, and a finished one is opened by a person who
# overrules its last verdict or tries a failed control again. A cancelled run is over.
_RUN_MOVES: dict[RunState, frozenset[RunState]] = {
    "running": frozenset({"paused", "finished", "failed", "cancelled"}),
    "paused": frozenset({"running", "failed", "cancelled"}),
    "finished": frozenset({"running"}),
    "failed": frozenset({"running", "cancelled"}),
    "cancelled": frozenset(),
}


def next_state(kind: RoundKind, state: RoundState) -> RoundState:
    """Where a round goes when its present step has succeeded.

    Raises `ValueError` for a round that has ended or a state that its kind never has.
    """
    path: tuple[RoundState, ...] = ("pending", *STEPS[kind], "done")
    if state not in path[:-1]:
        raise ValueError(f"a {kind} round in state {state!r} has no next step")
    return path[path.index(state) + 1]


def is_legal(kind: RoundKind, before: RoundState, after: RoundState) -> bool:
    """Whether a round of this kind may move so by itself; a retry is a person's."""
    if before in ENDED:
        return False
    if after in ("failed", "cancelled"):
        return True
    try:
        return next_state(kind, before) == after
    except ValueError:
        return False


def run_may_move(before: RunState, after: RunState) -> bool:
    """Whether a run may move so."""
    return after in _RUN_MOVES[before]


def retried(kind: RoundKind, failed_in: str) -> RoundState:
    """Where a failed round begins again: with the step that failed."""
    steps: tuple[RoundState, ...] = ("pending", *STEPS[kind])
    return next((state for state in steps if state == failed_in), "pending")
