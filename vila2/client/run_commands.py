"""The command that continues a run, by its state; error messages and the command line share it.

Every state has one command, so that no message refers to a command that refuses the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class RoundState(Protocol):
    """What is asked of a round: a row of the database and a round of the REST models have it."""

    @property
    def name(self) -> str:
        """Its name in the run."""

    @property
    def kind(self) -> str:
        """Whether it is one of the loop or a control."""

    @property
    def state(self) -> str:
        """How far it is."""


def continuing(run: str, state: str, rounds: Sequence[RoundState]) -> str:
    """What continues a run, as a clause with the exact command."""
    resume = f"`vila2 runs resume {run}`"
    if state == "running":
        return f"{resume} follows it"
    if state == "paused":
        return f"{resume} continues it"
    if state != "cancelled" and any(held.state == "failed" for held in rounds):
        return f"{resume} retries it from the step that failed"
    if state == "finished":
        return f"it is over; `vila2 runs show {run}` shows its results"
    return branching(run, rounds)


def branching(run: str, rounds: Sequence[RoundState]) -> str:
    """The command that starts a run from the last finished round of another."""
    done = finished_rounds(rounds)
    if not done:
        return "none of its rounds is finished: `vila2 runs start --recipe RECIPE` starts it again"
    name = f'"{done[-1]}"' if " " in done[-1] else done[-1]
    kept = f"keeps {', '.join(done)} and continues from there"
    return f"`vila2 runs branch {run} --round {name}` {kept}"


def finished_rounds(rounds: Sequence[RoundState]) -> list[str]:
    """Names of the rounds from which a branch can start, in order."""
    return [held.name for held in rounds if held.state == "done" and held.kind != "control"]
