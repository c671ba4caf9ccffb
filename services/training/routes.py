"""The training dispatcher's routes: parse, call, return. Models are in `routes_models.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse

from services.chassis.web.contents import answers
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.paging import Paged
from services.chassis.web.started import Started
from services.identity.require import Principal, require
from services.training.context import TrainingContext
from vila2.schemas.rest import training as api

router = APIRouter(prefix="/v1")
Reader = Annotated[Principal, Depends(require("models:read"))]
Writer = Annotated[Principal, Depends(require("models:write"))]
QuotaReader = Annotated[Principal, Depends(require("quotas:read"))]
QuotaWriter = Annotated[Principal, Depends(require("quotas:write"))]


def context_of(request: Request) -> TrainingContext:
    """The service's long-lived objects."""
    context: TrainingContext = request.app.state.context
    return context


Context = Annotated[TrainingContext, Depends(context_of)]


@router.post("/jobs", summary="Submit a job", status_code=202)
def submit_job(
    body: api.JobIn, caller: Writer, context: Context, started: Started, key: IdempotencyKey
) -> api.Job:
    """Queue a training or evaluation job."""
    job = context.jobs.submit(caller.team, body, key)
    started.tell(f"jobs/{job.id}")
    context.loop.nudge()
    return job


@router.get("/jobs", summary="List jobs")
def list_jobs(
    caller: Reader,
    context: Context,
    page: Paged,
    state: api.JobState | Literal[""] = "",
    run: str = "",
    kind: api.JobKind | Literal[""] = "",
    parent: str = "",
) -> list[api.Job]:
    """The team's jobs, the newest first; those of a job with seeds by its id as `parent`."""
    return context.jobs.find(caller.team, page, state=state, run=run, kind=kind, parent=parent)


@router.get("/jobs/{job}", summary="A job")
def get_job(job: str, caller: Reader, context: Context) -> api.Job:
    """State, progress and result."""
    return context.jobs.get(caller.team, job)


@router.post("/jobs/{job}/cancel", summary="Stop a job")
def cancel_job(job: str, caller: Writer, context: Context) -> api.Job:
    """Stop a job; what it wrote stays."""
    cancelled = context.jobs.cancel(caller.team, job)
    context.loop.nudge()
    return cancelled


@router.post("/jobs/{job}/retry", summary="Try a job again", status_code=202)
def retry_job(job: str, caller: Writer, context: Context, started: Started) -> api.Job:
    """Queue a failed or cancelled job again; a training goes on from its checkpoint."""
    again = context.jobs.retry(caller.team, job)
    started.tell(f"jobs/{again.id}")
    context.loop.nudge()
    return again


@router.get("/jobs/{job}/log", summary="The end of a job's log", **answers("text/plain"))
def get_log_end(job: str, caller: Reader, context: Context) -> Response:
    """The last 64 KiB of what the job printed."""
    part = context.jobs.files.log(context.jobs.row(caller.team, job))
    return Response(part.text, media_type="text/plain")


@router.get("/jobs/{job}/logs", summary="Part of a job's log")
def get_log(
    job: str,
    caller: Reader,
    context: Context,
    offset: Annotated[int | None, Query(ge=0, description="Null: the log's end.")] = None,
    limit: Annotated[int, Query(ge=4, le=1 << 20, description="Bytes at most.")] = 65536,
) -> api.LogPart:
    """Bytes from `offset` on; asked again with each answer's `next`, the log can be followed."""
    return context.jobs.files.log(context.jobs.row(caller.team, job), offset=offset, limit=limit)


@router.get("/jobs/{job}/metrics", summary="A training's history")
def list_metrics(job: str, caller: Reader, context: Context, page: Paged) -> list[dict[str, Any]]:
    """Loss and time by stage and step, each step once."""
    return page.numbered(context.jobs.files.metrics(context.jobs.row(caller.team, job)))


@router.get("/jobs/{job}/artifacts", summary="Files that a job left")
def list_artifacts(job: str, caller: Reader, context: Context, page: Paged) -> list[api.File]:
    """Those that can be fetched by name."""
    found = context.jobs.files.artifacts(context.jobs.row(caller.team, job))
    return page.items(found, lambda file: (file.name,))


@router.get(
    "/jobs/{job}/artifacts/{name}", summary="A file that a job left", **answers("text/plain")
)
def get_artifact(job: str, name: str, caller: Reader, context: Context) -> FileResponse:
    """One of the text files that jobs leave."""
    path = context.jobs.files.artifact(context.jobs.row(caller.team, job), name)
    return FileResponse(path, media_type="text/plain")


@router.get("/usage", summary="What was used")
def list_usage(
    caller: Reader,
    context: Context,
    page: Paged,
    by: Literal["team", "run"] = "team",
    since: float = 0.0,
    until: float | None = None,
) -> list[api.Usage]:
    """GPU-hours and process-hours of the caller's team, over all attempts of its jobs."""
    found = context.accounts.usage(caller.team, by, since=since, until=until)
    return page.items(found, lambda used: (used.team, used.run))


@router.get("/usage/teams", summary="What all teams used")
def list_usage_of_all(
    caller: QuotaReader,
    context: Context,
    page: Paged,
    by: Literal["team", "run"] = "team",
    since: float = 0.0,
    until: float | None = None,
) -> list[api.Usage]:
    """The same of every team, for whoever keeps the quotas."""
    found = context.accounts.usage(None, by, since=since, until=until)
    return page.items(found, lambda used: (used.team, used.run))


@router.get("/quota", summary="The caller's quota")
def get_own_quota(caller: Reader, context: Context) -> api.Quota:
    """What the caller's team may use, and what it has used of it."""
    return context.quotas.get(caller.team)


@router.get("/quotas", summary="All quotas")
def list_quotas(caller: QuotaReader, context: Context, page: Paged) -> list[api.Quota]:
    """Of every team that has one."""
    return context.quotas.all(page)


@router.get("/quotas/{team}", summary="A team's quota")
def get_quota(team: str, caller: QuotaReader, context: Context) -> api.Quota:
    """What a team may use, and what it has used of it."""
    return context.quotas.get(team)


@router.put("/quotas/{team}", summary="Set a team's quota")
def set_quota(team: str, body: api.QuotaIn, caller: QuotaWriter, context: Context) -> api.Quota:
    """Replace a team's quota; what runs goes on, what waits sees it at once."""
    made = context.quotas.set(team, body, by=caller.key)
    context.loop.nudge()
    return made
