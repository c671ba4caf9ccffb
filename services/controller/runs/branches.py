"""Branches: a new run that shares another run's rounds up to a given one."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.web.errors import Conflict, Invalid, NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.controller.runs import events
from services.controller.runs.amendments import at_the_versions_of, forbidden
from services.controller.runs.run_names import free_name
from services.controller.runs.run_rows import new_round, new_run, recipe_row, valid_recipe
from services.controller.runs.runs import Runs, rounds_of
from services.controller.tables import RecipeRow, RoundRow, RunRow
from vila2.client.run_commands import branching
from vila2.recipes.recipe import Recipe
from vila2.schemas.rest import controller as api

# The columns that a branched round copies.
_KEPT = (
    "layer_job", "layer", "specialists", "skill_layers", "train_job", "model", "evaluate_job",
    "seed_models", "seed_evaluations", "scores", "verdict", "created_at", "ended_at",
    "recipe_number",
)  # fmt: skip


def branch(
    runs: Runs, run: RunRow, body: api.BranchIn, token: str | None = None, *, by: str
) -> RunRow:
    """Start a run that has the loop's rounds up to the named one; a known token returns its run."""
    before = Recipe.model_validate(run.recipe)
    given = valid_recipe(body.recipe) if body.recipe is not None else before
    after = at_the_versions_of(before, given)
    wrong = [name for name in forbidden(before, after) if name != "name"]
    if wrong:
        raise Invalid(
            f"a branch shares its rounds' {', '.join(wrong)}",
            field=f"recipe.{wrong[0]}",
            fix="leave it as it is, or start a run of its own",
        )
    asked = KeyedRequest.of(token, body, run.id)

    def found_or_made(session: Session) -> RunRow:
        known = asked.find(session, RunRow, team=run.team)
        if known is not None:
            return known
        shared = _shared(run.id, rounds_of(session, run.id), body.round)
        name = free_name(session, run.team, body.name, default=f"{run.name}-branch"[:100])
        made = new_run(
            team=run.team, asked=asked, name=name, recipe=after,
            recipe_hash=given.digest(), origin={"run": run.id, "round": body.round},
        )  # fmt: skip
        made.recipe_number = run.recipe_number + 1
        session.add(made)
        session.flush()
        # The shared rounds keep the recipes of the original run.
        for had in session.scalars(select(RecipeRow).where(RecipeRow.run_id == run.id)):
            session.add(
                RecipeRow(
                    run_id=made.id, number=had.number, recipe=had.recipe,
                    recipe_hash=had.recipe_hash, by=had.by, reason=had.reason, at=had.at,
                )
            )  # fmt: skip
        session.add(recipe_row(made, by=by, reason=f"branched from {run.id}"))
        for position, row in enumerate(shared):
            copied = new_round(
                made, name=row.name, kind=row.kind, position=position,
                recipe_number=row.recipe_number,
            )  # fmt: skip
            copied.state = "done"
            copied.origin = row.origin or {"run": run.id, "round": row.name}
            for name in _KEPT:
                setattr(copied, name, getattr(row, name))
            session.add(copied)
        said = f"branched from {body.round} of {run.name} ({run.id})"
        events.record(session, made.id, "run.branched", "", said, by=by)
        return made

    return create_once(runs.database, found_or_made)


def _shared(run: str, rows: list[RoundRow], last: str) -> list[RoundRow]:
    """The loop's rounds up to the last one, controls left out; all of them must be done."""
    if last not in {row.name for row in rows}:
        raise NotFound(f"the run has no round {last!r}", field="round", fix=branching(run, rows))
    end = next(row for row in rows if row.name == last)
    if end.kind == "control":
        raise Invalid(f"{last} is a control, which no branch can share", field="round",
                      fix=branching(run, rows))  # fmt: skip
    shared = [row for row in rows if row.kind != "control" and row.position <= end.position]
    waiting = [row.name for row in shared if row.state != "done"]
    if waiting:
        raise Conflict(f"{', '.join(waiting)} is not finished", field="round",
                       fix=branching(run, rows))  # fmt: skip
    return shared
