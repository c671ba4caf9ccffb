"""The routes of estimates and costs: parse, call, return."""

from __future__ import annotations

from fastapi import APIRouter

from services.controller.access import Context, Reader, Writer
from services.controller.estimates.service import costs, estimate
from services.controller.runs.pins import pinned
from services.controller.runs.run_rows import valid_recipe
from vila2.schemas.rest import estimates as api

router = APIRouter(prefix="/v1")


@router.post("/estimates", summary="Estimate a run")
def make_estimate(body: api.EstimateIn, caller: Writer, context: Context) -> api.Estimate:
    """Images, tokens, hours and cost of each step of a run. Captions a sample; starts no run."""
    platform = context.platform(caller.team)
    recipe = valid_recipe(body.recipe)
    made = estimate(platform, pinned(recipe, platform), body)
    # A run's hash is that of the submitted recipe, before its datasets are pinned.
    made = made.model_copy(update={"recipe_hash": recipe.digest()})
    return context.estimates.keep(caller.team, made)


@router.get("/estimates/{estimate}", summary="Get an estimate")
def get_estimate(estimate: str, caller: Reader, context: Context) -> api.Estimate:
    """An earlier estimate, unchanged."""
    return context.estimates.get(caller.team, estimate)


@router.get("/runs/{run}/costs", summary="Get a run's costs")
def get_costs(run: str, caller: Reader, context: Context) -> api.Costs:
    """The run's usage by round and kind of work, with the newest estimate of the same recipe."""
    row = context.runs.get(caller.team, run)
    expected = context.estimates.newest(caller.team, row.recipe_hash)
    return costs(context.platform(caller.team), row, context.runs.rounds(row.id), expected)
