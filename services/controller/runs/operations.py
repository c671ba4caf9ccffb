"""User operations on a run: pause, resume, cancel, retry, overrule, amend the recipe.

The record changes first, by compare-and-set and with an event that names the user; requests to
other services follow, and can be repeated.
"""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy.orm import Session

from services.chassis.web.errors import Conflict, Invalid, NotFound
from services.controller.rounds import seeds
from services.controller.rounds.planner import bars_overruling
from services.controller.rounds.state import ENDED
from services.controller.runs import events, retries
from services.controller.runs.amendments import at_the_versions_of, forbidden
from services.controller.runs.run_rows import facts_of, recipe_row, valid_recipe
from services.controller.runs.runs import Runs, rounds_of, set_round
from services.controller.tables import RoundRow, RunRow
from vila2.client import ApiError, Client
from vila2.client.run_commands import continuing
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest import controller as api

_CHANGED = "the run has just changed: look at it and ask again"


def pause(runs: Runs, platform: Client, run: RunRow, *, by: str) -> None:
    """Start nothing new. Running shards and jobs finish."""
    _moved(runs.move(run, "paused", "paused by a person", by=by))
    for row in runs.rounds(run.id):
        if row.state == "captioning" and row.layer_job:
            _if_it_can(lambda job=row.layer_job: platform.caption.pause_job(job))


def resume(runs: Runs, platform: Client, run: RunRow, *, by: str) -> None:
    """Resume a paused run; the reason for its pause counts as reviewed."""
    if run.state != "paused":
        raise Conflict(f"run {run.id} is {run.state}, not paused", field="run",
                       fix=continuing(run.id, run.state, runs.rounds(run.id)))  # fmt: skip
    with runs.database.transaction() as session:
        for row in rounds_of(session, run.id):
            if row.verdict and row.verdict.get("stop") and not row.verdict.get("seen_by"):
                _change(session, row, verdict={**row.verdict, "seen_by": by})
    _moved(runs.move(run, "running", "resumed by a person", by=by))
    for row in runs.rounds(run.id):
        if row.state == "captioning" and row.layer_job:
            _if_it_can(lambda job=row.layer_job: platform.caption.resume_job(job))


def cancel(runs: Runs, platform: Client, run: RunRow, *, by: str = "", reason: str = "") -> None:
    """End the run first, so that nothing new is asked for, then stop what was asked for.

    `reason` is why the platform itself ends it; without one its owner does.
    """
    rounds = [row for row in runs.rounds(run.id) if row.state not in ENDED]
    said = reason or "cancelled by its owner"
    _moved(runs.move(run, "cancelled", said, error=reason, by=by))
    for row in rounds:
        for job in seeds.jobs_of(row):
            platform.training.cancel(job)
        if row.layer_job:
            platform.caption.cancel_job(row.layer_job)
        for specialist in row.specialists.values():
            platform.specialist.cancel(specialist)


def retry(runs: Runs, platform: Client, run: RunRow, *, by: str) -> None:
    """Retry every failed round from the step that failed."""
    rows = runs.rounds(run.id)
    failed = [row for row in rows if row.state == "failed"]
    if run.state not in ("failed", "finished", "running") or not failed:
        raise Conflict(
            f"run {run.id} is {run.state} and {len(failed)} of its rounds have failed",
            field="run",
            fix=continuing(run.id, run.state, rows),
        )
    again = {row.name: retries.prepare(platform, row) for row in failed}
    with runs.database.transaction() as session:
        for row in failed:
            _change(session, row, **again[row.name])
            said = f"tried again from {again[row.name]['state']}"
            events.record(session, run.id, "round.retried", row.name, said, by=by)
    if run.state != "running":
        _moved(runs.move(run, "running", "failed rounds are tried again", by=by))


def overrule(runs: Runs, run: RunRow, name: str, body: api.OverruleIn, *, by: str) -> None:
    """Put a person's verdict in place of the computed one; the record keeps both.

    Raises `Conflict` if later rounds were started because of the original verdict.
    """
    with runs.database.transaction() as session:
        held = session.get_one(RunRow, run.id, with_for_update=True)
        rows = {row.name: row for row in rounds_of(session, run.id)}
        row = rows.get(name)
        if row is None:
            raise NotFound(f"run {run.id} has no round {name!r}", field="round",
                           fix=f"one of {', '.join(rows)}")  # fmt: skip
        if row.verdict is None:
            raise Conflict(f"{name} has no verdict yet", field="round", fix="wait until it has")
        facts = [facts_of(other) for other in rows.values()]
        later = bars_overruling(Recipe.model_validate(held.recipe), facts, facts_of(row))
        if later and held.state != "cancelled":
            raise Conflict(
                f"{', '.join(later)} began by the verdict on {name}",
                field="round",
                fix=f"branch the run from {name} and overrule it there",
            )
        was = row.verdict.get("overruled", {}).get("was", row.verdict["kind"])
        verdict = {
            **row.verdict,
            "kind": body.kind,
            "overruled": {"was": was, "by": by, "reason": body.reason, "at": time.time()},
        }
        _change(session, row, verdict=verdict)
        held.version += 1
        said = f"{was} overruled: {body.kind}. {body.reason}"
        events.record(session, run.id, "round.overruled", name, said, by=by)
        if held.state == "finished":
            held.state, held.finished_at = "running", 0.0
            events.record(session, run.id, "run.resumed", "", "opened again by an overruling")


def amend(runs: Runs, run: RunRow, body: api.AmendIn, *, by: str) -> None:
    """Give the rounds that have not begun another recipe; those that have keep theirs.

    Raises `Conflict` if the run has another recipe by now than the one that this is based on.
    """
    given = valid_recipe(body.recipe)
    with runs.database.transaction() as session:
        held = session.get_one(RunRow, run.id, with_for_update=True)
        if held.state not in ("running", "paused"):
            raise Conflict(f"the run is {held.state}",
                           field="run", fix="only a run that is not over changes")  # fmt: skip
        if held.recipe_number != body.based_on:
            raise Conflict(
                f"recipe {held.recipe_number} is in force, not {body.based_on}",
                field="based_on",
                fix="read the recipe that is in force, and change that one",
            )
        before = Recipe.model_validate(held.recipe)
        after = at_the_versions_of(before, given)
        wrong = forbidden(before, after)
        if wrong:
            raise Invalid(
                f"all rounds of a run share {', '.join(wrong)}",
                field=f"recipe.{wrong[0]}",
                fix="leave it as it is, or start another run",
            )
        held.recipe, held.recipe_hash = after.model_dump(mode="json"), given.digest()
        held.recipe_number += 1
        held.version += 1
        session.add(recipe_row(held, by=by, reason=body.reason))
        said = f"recipe {held.recipe_number} for the rounds to come. {body.reason}".rstrip()
        events.record(session, run.id, "run.amended", "", said, by=by)


def _change(session: Session, row: RoundRow, **values: Any) -> None:
    """Change a round in the caller's transaction; raises `Conflict` on a concurrent change."""
    _moved(set_round(session, row, values))


def _moved(done: bool) -> None:
    if not done:
        raise Conflict(_CHANGED, field="run", fix="ask again")


def _if_it_can(ask: Any) -> None:
    """A layer that has just ended can be neither paused nor resumed, and need not be."""
    try:
        ask()
    except ApiError as error:
        if error.problem.status != 409:
            raise
