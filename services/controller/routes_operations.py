"""Routes that operate on a run; each returns the run in its new state."""

from __future__ import annotations

from fastapi import APIRouter

from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.started import Started
from services.controller.access import Context, Writer
from services.controller.context import ControllerContext
from services.controller.runs import operations
from services.controller.runs.branches import branch
from services.controller.runs.views import run_view
from services.controller.tables import RunRow
from services.identity.require_scope import Principal
from vila2.schemas.rest import controller as api

router = APIRouter(prefix="/v1")


@router.post("/runs/{run}/pause", summary="Pause a run")
def pause_run(run: str, caller: Writer, context: Context) -> api.Run:
    """Start no new work. Running shards and jobs finish."""
    row = context.runs.get(caller.team, run)
    operations.pause(context.runs, context.platform(caller.team), row, by=_who(caller))
    return _shown(context, row)


@router.post("/runs/{run}/resume", summary="Resume a paused run")
def resume_run(run: str, caller: Writer, context: Context) -> api.Run:
    """Resume the run. A warning that paused it counts as acknowledged."""
    row = context.runs.get(caller.team, run)
    operations.resume(context.runs, context.platform(caller.team), row, by=_who(caller))
    return _shown(context, row)


@router.post("/runs/{run}/cancel", summary="Cancel a run")
def cancel_run(run: str, caller: Writer, context: Context) -> api.Run:
    """Cancel a run and all its work. Results produced so far are kept."""
    row = context.runs.get(caller.team, run)
    operations.cancel(context.runs, context.platform(caller.team), row, by=_who(caller))
    return _shown(context, row)


@router.post("/runs/{run}/retry", summary="Retry failed rounds", status_code=202)
def retry_run(run: str, caller: Writer, context: Context, started: Started) -> api.Run:
    """Retry from the failed step. Training resumes from its checkpoint; done shards are kept."""
    row = context.runs.get(caller.team, run)
    started.tell(f"runs/{row.id}")
    operations.retry(context.runs, context.platform(caller.team), row, by=_who(caller))
    return _shown(context, row)


@router.post("/runs/{run}/rounds/{round}/verdict", summary="Overrule a verdict")
def overrule_verdict(
    run: str, round: str, body: api.OverruleIn, caller: Writer, context: Context
) -> api.Run:
    """Replace the computed verdict. Both are kept in the record."""
    row = context.runs.get(caller.team, run)
    operations.overrule(context.runs, row, round, body, by=_who(caller))
    return _shown(context, row)


@router.post("/runs/{run}/recipe", summary="Amend the recipe")
def amend_recipe(run: str, body: api.AmendIn, caller: Writer, context: Context) -> api.Run:
    """Change the recipe of rounds that have not started. Started rounds keep theirs."""
    row = context.runs.get(caller.team, run)
    operations.amend(context.runs, row, body, by=_who(caller))
    return _shown(context, row)


@router.post("/runs/{run}/branch", summary="Branch a run", status_code=202)
def branch_run(
    run: str,
    body: api.BranchIn,
    caller: Writer,
    context: Context,
    started: Started,
    key: IdempotencyKey,
) -> api.Run:
    """Start a new run that shares this run's rounds up to the named one."""
    row = branch(context.runs, context.runs.get(caller.team, run), body, key, by=_who(caller))
    started.tell(f"runs/{row.id}")
    return _shown(context, row)


def _who(caller: Principal) -> str:
    """The key's public part, which identifies its owner."""
    return f"key {caller.key}"


def _shown(context: ControllerContext, row: RunRow) -> api.Run:
    context.reconciler.loop.nudge()
    fresh = context.runs.get(row.team, row.id)
    return run_view(context.runs, context.platform(row.team), fresh)
