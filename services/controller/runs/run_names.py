"""Names of a team's runs: a new run gets one that is free, and a shared one is never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import exclusively
from services.chassis.web.errors import Conflict
from services.controller.tables import RunRow

# Candidates that an error lists.
_LISTED = 10
_LONGEST = 100


def free_name(session: Session, team: str, wanted: str, *, default: str) -> str:
    """The name for a new run: the one wanted, or the first free one of default, default-2, ...

    Raises `Conflict` if the team has a run of the wanted name.
    """
    exclusively(session, f"run-names:{team}")
    if not wanted:
        return _next_free(session, team, default)
    held = _of_name(session, team, wanted)
    if held:
        suggestion = _next_free(session, team, wanted)
        raise Conflict(
            f"a run named {wanted!r} exists: {_described(held[0])}",
            field="name",
            fix=f"`vila2 runs resume {held[0].id}` if you mean it, or another name, "
            f"such as {suggestion}",
        )
    return wanted


def named(session: Session, team: str, name: str) -> RunRow | None:
    """The run of a name, if there is one; raises `Conflict` if several have it."""
    held = _of_name(session, team, name)
    if len(held) > 1:
        more = [f"and {len(held) - _LISTED} more"] if len(held) > _LISTED else []
        listed = "\n  ".join([*map(_described, held[:_LISTED]), *more])
        raise Conflict(
            f"{len(held)} runs are named {name!r}:\n  {listed}\n",
            field="run",
            fix="give the id of the one that you mean",
        )
    return held[0] if held else None


def _of_name(session: Session, team: str, name: str) -> Sequence[RunRow]:
    chosen = select(RunRow).where(RunRow.team == team, RunRow.name == name)
    return session.scalars(chosen.order_by(RunRow.created_at.desc())).all()


def _next_free(session: Session, team: str, name: str) -> str:
    begins = name[: _LONGEST - 6]
    chosen = select(RunRow.name).where(
        RunRow.team == team, RunRow.name.startswith(begins, autoescape=True)
    )
    taken = set(session.scalars(chosen))
    if name not in taken:
        return name
    return next(made for n in count(2) if (made := f"{begins}-{n}") not in taken)


def _described(run: RunRow) -> str:
    started = datetime.fromtimestamp(run.created_at, UTC)
    return f"{run.id}, started {started:%Y-%m-%d %H:%M} UTC, {run.state}"
