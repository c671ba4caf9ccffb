"""The controller's routes: parse, call, return."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from services.chassis.web.contents import answers
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.paging import Paged
from services.chassis.web.started import Started
from services.controller.access import Context, Reader, Writer
from services.controller.report.comparison import compare
from services.controller.runs.pins import pinned
from services.controller.runs.views import run_view
from vila2.schemas.rest import controller as api

router = APIRouter(prefix="/v1")


@router.post("/runs", summary="Start a run", status_code=202)
def start_run(
    body: api.RunIn, caller: Writer, context: Context, started: Started, key: IdempotencyKey
) -> api.Run:
    """Validate the recipe and start a run."""
    platform = context.platform(caller.team)
    row = context.runs.start(caller.team, body, lambda recipe: pinned(recipe, platform), key)
    started.tell(f"runs/{row.id}")
    context.reconciler.loop.nudge()
    return run_view(context.runs, platform, row)


@router.get("/runs", summary="List runs")
def list_runs(caller: Reader, context: Context, page: Paged) -> list[api.Run]:
    """The team's runs, oldest first."""
    platform = context.platform(caller.team)
    rows = context.runs.of_team(caller.team, page)
    return [run_view(context.runs, platform, row) for row in rows]


@router.get("/runs/{run}", summary="Get a run")
def get_run(run: str, caller: Reader, context: Context) -> api.Run:
    """A run by id or name, with the progress of its rounds and an estimate of the time left."""
    row = context.runs.get(caller.team, run)
    return run_view(context.runs, context.platform(caller.team), row)


@router.get("/runs/{run}/events", summary="List a run's events")
def list_events(
    run: str,
    caller: Reader,
    context: Context,
    page: Paged,
    after: Annotated[
        int, Query(ge=0, le=2**31 - 1, description="Return events with higher numbers.")
    ] = 0,
) -> list[api.Event]:
    """The run's events after number `after`, in order."""
    return context.runs.events(context.runs.get(caller.team, run).id, page, after=after)


@router.get("/runs/{run}/report", summary="Get a run's report")
def get_report(run: str, caller: Reader, context: Context) -> dict[str, Any]:
    """The report's figures, as far as they are available."""
    row = context.runs.get(caller.team, run)
    built = context.reports.build(context.platform(caller.team), row)
    return built.model_dump(mode="json")


@router.get("/runs/{run}/report.html", summary="Get a run's report as HTML", **answers("text/html"))
def get_report_html(run: str, caller: Reader, context: Context) -> Response:
    """The report as one self-contained HTML page."""
    from vila2.evaluation.report.html import render_html

    row = context.runs.get(caller.team, run)
    built = context.reports.build(context.platform(caller.team), row)
    return Response(render_html(built), media_type="text/html")


@router.get("/runs/{run}/compare/{other}", summary="Compare two runs")
def compare_runs(run: str, other: str, caller: Reader, context: Context) -> api.Comparison:
    """Differences of the recipes, and paired differences of rounds with the same name."""
    ours, theirs = (context.runs.get(caller.team, name) for name in (run, other))
    return compare(context.runs, context.platform(caller.team), ours, theirs)


@router.get("/runs/{run}/recipes", summary="List a run's recipes")
def list_recipes_of_run(
    run: str, caller: Reader, context: Context, page: Paged
) -> list[api.RecipeOfRun]:
    """The run's recipes, numbered from 1. The last is in force; each round names its own."""
    rows = context.runs.recipes(context.runs.get(caller.team, run).id, page)
    return [api.RecipeOfRun.model_validate(row, from_attributes=True) for row in rows]


@router.get("/runs/{run}/recipe", summary="Get the recipe in force")
def get_recipe_of_run(run: str, caller: Reader, context: Context) -> api.RecipeOfRun:
    """The recipe for rounds that start now. To amend it, pass its number as `based_on`."""
    row = context.runs.recipe(context.runs.get(caller.team, run))
    return api.RecipeOfRun.model_validate(row, from_attributes=True)
