"""The routes of estimates and costs: parse, call, return."""

from __future__ import annotations

from fastapi import APIRouter

from services.controller.access import Context, Reader, Writer
from services.controller.estimates.service import costs, estimate
from services.controller.runs.pins import pinned
from services.controller.runs.runs import valid_recipe
from vila2.schemas.rest import estimates as api

router = APIRouter(prefix="/v1")


@router.post("/estimates", summary="Estimate a run before it is started")
def make_estimate(body: api.EstimateIn, caller: Writer, context: Context) -> api.Estimate:
    """Images, tokens, hours and money of each piece of work; captions a sample, starts no run."""
    platform = context.platform(caller.team)
    recipe = valid_recipe(body.recipe)
    made = estimate(platform, pinned(recipe, platform), body)
    # A run's hash is of the recipe as it came, before its datasets are pinned.
    made = made.model_copy(update={"recipe_hash": recipe.digest()})
    return context.estimates.keep(caller.team, made)


@router.get("/estimates/{estimate}", summary="An estimate")
def get_estimate(estimate: str, caller: Reader, context: Context) -> api.Estimate:
    """As it was made."""
    return context.estimates.get(caller.team, estimate)


@router.get("/runs/{run}/costs", summary="What a run has used")
def get_costs(run: str, caller: Reader, context: Context) -> api.Costs:
    """By round and work, beside the newest estimate of the same recipe."""
    row = context.runs.get(caller.team, run)
    expected = context.estimates.newest(caller.team, row.recipe_hash)
    return costs(context.platform(caller.team), row, context.runs.rounds(row.id), expected)
