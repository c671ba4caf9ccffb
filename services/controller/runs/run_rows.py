"""Rows of runs and rounds that have not been added yet, and what the planner reads of a round."""

from __future__ import annotations

import time
import uuid
from typing import Any

from pydantic import ValidationError

from services.chassis.web.errors import Invalid
from services.chassis.web.idempotency import KeyedRequest
from services.controller.rounds.planner import RoundFacts
from services.controller.tables import RecipeRow, RoundRow, RunRow
from vila2.recipes.feasibility import refusals
from vila2.recipes.recipe import Recipe, explain


def valid_recipe(content: dict[str, Any]) -> Recipe:
    """The recipe; raises `Invalid` that lists every field that is wrong or fails a job later."""
    try:
        recipe = Recipe.model_validate(content)
    except ValidationError as error:
        first = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise Invalid(
            f"the recipe is not valid:\n{explain(error, schema=Recipe.model_json_schema())}",
            field=f"recipe.{first}",
            fix="correct the fields named above",
        ) from error
    if wrong := refusals(recipe):
        listed = "; ".join(map(str, wrong))
        raise Invalid(
            f"jobs of this recipe would fail: {listed}",
            field=f"recipe.{wrong[0].field}",
            fix="correct the fields named above",
        )
    return recipe


def new_run(
    *,
    team: str,
    asked: KeyedRequest,
    name: str,
    recipe: Recipe,
    recipe_hash: str,
    origin: dict[str, str] | None = None,
) -> RunRow:
    """A run that has not been added yet."""
    return RunRow(
        id=f"run-{uuid.uuid4().hex[:8]}", team=team, **asked.columns, name=name,
        recipe=recipe.model_dump(mode="json"), recipe_hash=recipe_hash, recipe_number=1,
        origin=origin, state="running", version=0, trouble="", events=0, created_at=time.time(),
    )  # fmt: skip


def recipe_row(run: RunRow, *, by: str = "", reason: str = "") -> RecipeRow:
    """The record of the recipe that a run has now."""
    return RecipeRow(
        run_id=run.id, number=run.recipe_number, recipe=run.recipe, recipe_hash=run.recipe_hash,
        by=by, reason=reason, at=time.time(),
    )  # fmt: skip


def new_round(run: RunRow, *, name: str, kind: str, position: int, recipe_number: int) -> RoundRow:
    """A round that has not been added yet."""
    return RoundRow(
        run_id=run.id, name=name, kind=kind, position=position, state="pending", version=0,
        recipe_number=recipe_number, failed_in="", tries={}, specialists={}, skill_layers={},
        seed_models={}, seed_evaluations={}, scores={}, created_at=time.time(),
    )  # fmt: skip


def facts_of(row: RoundRow) -> RoundFacts:
    """What the planner needs to know of a round."""
    verdict = row.verdict or {}
    return RoundFacts(
        name=row.name,
        kind=row.kind,  # type: ignore[arg-type]
        position=row.position,
        state=row.state,  # type: ignore[arg-type]
        has_layer=bool(row.layer),
        verdict=verdict.get("kind"),
        stop=_stop(verdict),
        error=row.error or "",
    )


def _stop(verdict: dict[str, Any]) -> str:
    """Why the recipe wants the run stopped after this round, until a person has seen it."""
    if not verdict.get("stop") or verdict.get("seen_by"):
        return ""
    return "; ".join(warning["message"] for warning in verdict["warnings"])
