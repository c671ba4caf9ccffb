"""Runs in the database: create, query, and change by compare-and-set with an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.web.errors import Conflict, NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.chassis.web.paging import WHOLE, Page
from services.controller.rounds.state import ENDED, is_legal, run_may_move
from services.controller.runs import events
from services.controller.runs.run_names import free_name, named
from services.controller.runs.run_rows import new_round, new_run, recipe_row, valid_recipe
from services.controller.tables import RecipeRow, RoundRow, RunRow
from vila2.client.run_commands import continuing
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest import controller as api


class Runs:
    """Owns the tables `runs`, `run_recipes`, `rounds` and `events`."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def start(
        self,
        team: str,
        body: api.RunIn,
        pin: Callable[[Recipe], Recipe],
        token: str | None = None,
    ) -> RunRow:
        """Validate the recipe and create a run; a known token returns its run.

        `pin` fixes the versions of the recipe's datasets; the hash is of the recipe as it came.
        Raises `Conflict` if the team has a run of the name that was given.
        """
        recipe = valid_recipe(body.recipe)
        asked = KeyedRequest.of(token, body)
        with self.database.reading() as session:
            known = asked.find(session, RunRow, team=team)
        if known is not None:
            return known
        fixed = pin(recipe)

        def found_or_made(session: Session) -> RunRow:
            row = asked.find(session, RunRow, team=team)
            if row is None:
                name = free_name(session, team, body.name, default=recipe.name)
                row = new_run(
                    team=team, asked=asked, name=name, recipe=fixed, recipe_hash=recipe.digest()
                )
                session.add(row)
                session.flush()
                session.add(recipe_row(row))
                events.record(session, row.id, "run.started", "", f"recipe {recipe.name} accepted")
            return row

        return create_once(self.database, found_or_made)

    def get(self, team: str, run_id: str) -> RunRow:
        """A run by id or name; raises `Conflict` if several have the name."""
        with self.database.transaction() as session:
            row = session.get(RunRow, run_id) or named(session, team, run_id)
            if row is None or row.team != team:
                raise NotFound(f"no run {run_id!r}", field="run", fix="`vila2 runs list`")
            return row

    def of_team(self, team: str, page: Page) -> list[RunRow]:
        """The team's runs, oldest first."""
        chosen = select(RunRow).where(RunRow.team == team)
        with self.database.reading() as session:
            return page.rows(session, chosen, RunRow.created_at, RunRow.id)

    def running(self) -> list[RunRow]:
        """Every team's active runs, oldest first."""
        with self.database.transaction() as session:
            chosen = select(RunRow).where(RunRow.state == "running").order_by(RunRow.created_at)
            return list(session.scalars(chosen))

    def rounds(self, run_id: str) -> list[RoundRow]:
        """A run's rounds in the order in which they were added."""
        with self.database.transaction() as session:
            return rounds_of(session, run_id)

    def recipes(self, run_id: str, page: Page = WHOLE) -> list[RecipeRow]:
        """Every recipe that a run has had, by number from 1."""
        chosen = select(RecipeRow).where(RecipeRow.run_id == run_id)
        with self.database.reading() as session:
            return page.rows(session, chosen, RecipeRow.number)

    def recipe(self, run: RunRow) -> RecipeRow:
        """The recipe in force when the run was read."""
        with self.database.reading() as session:
            return session.get_one(RecipeRow, (run.id, run.recipe_number))

    def events(self, run_id: str, page: Page = WHOLE, *, after: int = 0) -> list[api.Event]:
        """The events after number `after`, in order."""
        with self.database.reading() as session:
            return events.of_run(session, run_id, page, after=after)

    def add_round(self, run: RunRow, *, name: str, kind: str, position: int, message: str) -> bool:
        """Add a round, unless the run has changed since it was read or the round is there."""
        with self.database.transaction() as session:
            if not _step_on(session, run, state="running"):
                return False
            there = session.scalar(
                select(RoundRow).where(RoundRow.run_id == run.id, RoundRow.name == name)
            )
            if there is None:
                session.add(
                    new_round(
                        run, name=name, kind=kind, position=position,
                        recipe_number=run.recipe_number,
                    )
                )  # fmt: skip
                events.record(session, run.id, "round.added", name, message)
        run.version += 1
        crashpoint("round.added")
        return True

    def change_round(self, row: RoundRow, message: str = "", **values: Any) -> bool:
        """Change a round if it is unchanged since it was read; a new state records an event.

        Raises `ValueError` for a move that its kind may not make.
        """
        after = values.get("state", row.state)
        if after != row.state and not is_legal(row.kind, row.state, after):  # type: ignore[arg-type]
            raise ValueError(f"{row.name}: {row.state} -> {after} is not a legal move")
        if after in ENDED:
            values["ended_at"] = time.time()
        if after == "failed":
            values["failed_in"] = row.state
        with self.database.transaction() as session:
            if not set_round(session, row, values):
                return False
            if after != row.state:
                events.record(session, row.run_id, f"round.{after}", row.name, message or after)
        crashpoint(f"round.{after}")
        return True

    def move(
        self, run: RunRow, state: api.RunState, message: str, *, error: str = "", by: str = ""
    ) -> bool:
        """Change a run's state by compare-and-set; False if it changed since it was read.

        Cancelling cancels its rounds with it. Raises `Conflict` for a move that is not legal.
        """
        if not run_may_move(run.state, state):  # type: ignore[arg-type]
            fix = continuing(run.id, run.state, self.rounds(run.id))
            raise Conflict(f"run {run.id} is {run.state}", field="run", fix=fix)
        ended = time.time() if state in ("finished", "failed", "cancelled") else 0.0
        with self.database.transaction() as session:
            if not _step_on(session, run, state=run.state, to=state, error=error, ended=ended):
                return False
            if state == "cancelled":
                session.execute(
                    update(RoundRow)
                    .where(RoundRow.run_id == run.id, RoundRow.state.not_in(ENDED))
                    .values(state="cancelled", version=RoundRow.version + 1, ended_at=ended)
                )
            kind = f"run.{state}" if state != "running" else "run.resumed"
            events.record(session, run.id, kind, "", message, by=by)
        crashpoint(f"run.{state}")
        return True

    def trouble(self, run: RunRow, reason: str) -> None:
        """Store why a run cannot proceed at the moment; empty once it can."""
        if run.trouble == reason:
            return
        with self.database.transaction() as session:
            session.execute(update(RunRow).where(RunRow.id == run.id).values(trouble=reason))


def _step_on(
    session: Session,
    run: RunRow,
    *,
    state: str,
    to: str | None = None,
    error: str | None = None,
    ended: float | None = None,
) -> bool:
    """Compare-and-set on a run: False if its version or state changed since it was read."""
    values: dict[str, Any] = {"version": run.version + 1}
    if to is not None:
        values |= {"state": to, "error": error or "", "finished_at": ended or 0.0, "trouble": ""}
    changed = session.execute(
        update(RunRow)
        .where(RunRow.id == run.id, RunRow.version == run.version, RunRow.state == state)
        .values(**values)
    )
    return bool(changed.rowcount)  # type: ignore[attr-defined]


def set_round(session: Session, row: RoundRow, values: Mapping[str, Any]) -> bool:
    """Compare-and-set on a round: False if its version changed since it was read."""
    changed = session.execute(
        update(RoundRow)
        .where(RoundRow.id == row.id, RoundRow.version == row.version)
        .values(version=row.version + 1, **values)
    )
    return bool(changed.rowcount)  # type: ignore[attr-defined]


def rounds_of(session: Session, run_id: str) -> list[RoundRow]:
    """A run's rounds in order."""
    chosen = select(RoundRow).where(RoundRow.run_id == run_id).order_by(RoundRow.position)
    return list(session.scalars(chosen))
