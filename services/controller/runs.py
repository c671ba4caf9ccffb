"""Runs in the database: start, look up, and every change as one compare-and-set with its event."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from pydantic import ValidationError
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.database import Database, exclusively
from services.chassis.errors import Invalid, NotFound
from services.controller.planner import RoundFacts
from services.controller.state import ENDED, is_legal
from services.controller.tables import EventRow, RoundRow, RunRow
from vila2.api import controller as api
from vila2.recipe import Recipe, explain
from vila2.wire.events_pb2 import RunEvent


class Runs:
    """Owns the controller's tables."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, team: str, body: api.RunIn, pin: Callable[[Recipe], Recipe]) -> RunRow:
        """Validate the recipe and create a run; a known token returns its run.

        `pin` fixes the versions of the recipe's datasets; the hash is of the recipe as it came.
        """
        recipe = validated(body.recipe)
        token = body.token or uuid.uuid4().hex
        with self._database.transaction() as session:
            known = self._of_token(session, team, token)
        fixed = recipe if known is not None else pin(recipe)
        with self._database.transaction() as session:
            exclusively(session, f"token:{team}:{token}")
            row = self._of_token(session, team, token)
            if row is None:
                row = RunRow(
                    id=f"run-{uuid.uuid4().hex[:8]}",
                    team=team,
                    token=token,
                    name=body.name or recipe.name,
                    recipe=fixed.model_dump(mode="json"),
                    recipe_hash=recipe.digest(),
                    state="running",
                    events=0,
                    created_at=time.time(),
                )
                session.add(row)
                session.flush()
                self._event(session, row.id, "run.started", "", f"recipe {recipe.name} accepted")
            elif row.recipe_hash != recipe.digest():
                raise Invalid(
                    "this token belongs to a run of another recipe",
                    field="token",
                    fix="use another token",
                )
            return row

    def _of_token(self, session: Session, team: str, token: str) -> RunRow | None:
        return session.scalar(select(RunRow).where(RunRow.team == team, RunRow.token == token))

    def get(self, team: str, run_id: str) -> RunRow:
        """A run by id, or the newest of that name."""
        with self._database.transaction() as session:
            row = session.get(RunRow, run_id) or session.scalar(
                select(RunRow)
                .where(RunRow.team == team, RunRow.name == run_id)
                .order_by(RunRow.created_at.desc())
            )
            if row is None or row.team != team:
                raise NotFound(f"no run {run_id!r}", field="run", fix="`vila2 runs list`")
            return row

    def of_team(self, team: str) -> list[RunRow]:
        """The team's runs, oldest first."""
        with self._database.transaction() as session:
            return list(
                session.scalars(
                    select(RunRow).where(RunRow.team == team).order_by(RunRow.created_at)
                )
            )

    def running(self) -> list[RunRow]:
        """Every team's runs that are not over."""
        with self._database.transaction() as session:
            return list(
                session.scalars(
                    select(RunRow).where(RunRow.state == "running").order_by(RunRow.created_at)
                )
            )

    def rounds(self, run_id: str) -> list[RoundRow]:
        """A run's rounds in the order in which they were added."""
        with self._database.transaction() as session:
            return list(
                session.scalars(
                    select(RoundRow).where(RoundRow.run_id == run_id).order_by(RoundRow.position)
                )
            )

    def events(self, run_id: str) -> list[api.Event]:
        """What happened, in order."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(EventRow).where(EventRow.run_id == run_id).order_by(EventRow.sequence)
            ).all()
        events = [json_format.Parse(row.body, RunEvent()) for row in rows]
        return [
            api.Event(
                sequence=event.sequence,
                at=event.at,
                kind=event.kind,
                round=event.round,
                message=event.message,
            )
            for event in events
        ]

    def add_round(self, run_id: str, *, name: str, kind: str, position: int, message: str) -> None:
        """Add a round, unless it is there already."""
        with self._database.transaction() as session:
            exclusively(session, f"rounds:{run_id}")
            there = session.scalar(
                select(RoundRow).where(RoundRow.run_id == run_id, RoundRow.name == name)
            )
            if there is None:
                session.add(
                    RoundRow(
                        run_id=run_id,
                        name=name,
                        kind=kind,
                        position=position,
                        state="pending",
                        version=0,
                        specialists={},
                        skill_layers={},
                        scores={},
                        created_at=time.time(),
                    )
                )
                self._event(session, run_id, "round.added", name, message)
        crashpoint("round.added")

    def change_round(self, row: RoundRow, message: str = "", **values: Any) -> bool:
        """Change a round if nobody has since it was read; a new state is an event.

        Raises `ValueError` for a move that its kind may not make.
        """
        after = values.get("state", row.state)
        if after != row.state and not is_legal(row.kind, row.state, after):  # type: ignore[arg-type]
            raise ValueError(f"{row.name}: {row.state} -> {after} is not a legal move")
        if after in ENDED:
            values["ended_at"] = time.time()
        with self._database.transaction() as session:
            changed = session.execute(
                update(RoundRow)
                .where(RoundRow.id == row.id, RoundRow.version == row.version)
                .values(version=row.version + 1, **values)
            )
            if not changed.rowcount:  # type: ignore[attr-defined]
                return False
            if after != row.state:
                self._event(session, row.run_id, f"round.{after}", row.name, message or f"{after}")
        crashpoint(f"round.{after}")
        return True

    def end_run(self, run: RunRow, state: str, message: str, *, error: str = "") -> None:
        """Finish, fail or cancel a run that runs."""
        with self._database.transaction() as session:
            changed = session.execute(
                update(RunRow)
                .where(RunRow.id == run.id, RunRow.state == "running")
                .values(state=state, error=error, finished_at=time.time())
            )
            if not changed.rowcount:  # type: ignore[attr-defined]
                return
            if state == "cancelled":
                session.execute(
                    update(RoundRow)
                    .where(RoundRow.run_id == run.id, RoundRow.state.not_in(ENDED))
                    .values(state="cancelled", version=RoundRow.version + 1)
                )
            self._event(session, run.id, f"run.{state}", "", message)

    def _event(self, session: Session, run_id: str, kind: str, round: str, message: str) -> None:
        # Locked, so that two events at once get two numbers.
        run = session.get_one(RunRow, run_id, with_for_update=True)
        run.events = (run.events or 0) + 1
        body = RunEvent(
            run_id=run_id,
            sequence=run.events,
            at=time.time(),
            kind=kind,
            round=round,
            message=message,
        )
        text = json_format.MessageToJson(body, indent=None)
        session.add(EventRow(run_id=run_id, sequence=run.events, body=text))


def facts_of(row: RoundRow) -> RoundFacts:
    """What the planner needs to know of a round."""
    return RoundFacts(
        name=row.name,
        kind=row.kind,  # type: ignore[arg-type]
        position=row.position,
        state=row.state,  # type: ignore[arg-type]
        has_layer=bool(row.layer),
        verdict=row.verdict["kind"] if row.verdict else None,
        error=row.error or "",
    )


def validated(content: dict[str, Any]) -> Recipe:
    """A recipe's content as a recipe, or `Invalid` that names every wrong field."""
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        first = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Invalid(
            f"the recipe is not valid:\n{explain(error, schema=Recipe.model_json_schema())}",
            field=f"recipe.{first}",
            fix="correct the fields named above",
        ) from error
