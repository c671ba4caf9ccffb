"""The states of a round and the moves that are legal. Pure."""

from __future__ import annotations

from typing import Literal

from vila2.api.controller import RoundKind

RoundState = Literal[
    "pending", "captioning", "specialising", "training", "evaluating", "done", "failed", "cancelled"
]
ENDED: frozenset[str] = frozenset({"done", "failed", "cancelled"})

# What a round goes through after `pending`, by its kind.
STEPS: dict[RoundKind, tuple[RoundState, ...]] = {
    "base": ("training",),
    "baseline": ("training", "evaluating"),
    "self": ("captioning", "training", "evaluating"),
    "specialist": ("specialising", "training", "evaluating"),
    "control": ("training", "evaluating"),
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
    """Whether a round of this kind may move so."""
    if before in ENDED:
        return False
    if after in ("failed", "cancelled"):
        return True
    try:
        return next_state(kind, before) == after
    except ValueError:
        return False
