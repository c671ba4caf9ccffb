"""The training dispatcher's routes: parse, call, return. Models are in `routes_models.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import FileResponse

from services.chassis.web.contents import answers
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.numbers import Moment
from services.chassis.web.paging import Paged
from services.chassis.web.started import Started
from services.identity.require_scope import Principal, require
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
    """The team's jobs, newest first. `parent` selects the jobs of a job with several seeds."""
    return context.jobs.find(caller.team, page, state=state, run=run, kind=kind, parent=parent)


@router.get("/jobs/{job}", summary="Get a job")
def get_job(job: str, caller: Reader, context: Context) -> api.Job:
    """The job's state, progress and result."""
    return context.jobs.get(caller.team, job)


@router.post("/jobs/{job}/cancel", summary="Cancel a job")
def cancel_job(job: str, caller: Writer, context: Context) -> api.Job:
    """Cancel a job. Files that it wrote are kept."""
    cancelled = context.jobs.cancel(caller.team, job)
    context.loop.nudge()
    return cancelled


@router.post("/jobs/{job}/retry", summary="Retry a job", status_code=202)
def retry_job(job: str, caller: Writer, context: Context, started: Started) -> api.Job:
    """Queue a failed or cancelled job again. Training resumes from its last checkpoint."""
    again = context.jobs.retry(caller.team, job)
    started.tell(f"jobs/{again.id}")
    context.loop.nudge()
    return again


@router.get("/jobs/{job}/log", summary="Get the end of a job's log", **answers("text/plain"))
def get_log_end(job: str, caller: Reader, context: Context) -> Response:
    """The last 64 KiB of the job's output."""
    part = context.jobs.files.log(context.jobs.row(caller.team, job))
    return Response(part.text, media_type="text/plain")


@router.get("/jobs/{job}/logs", summary="Get part of a job's log")
def get_log(
    job: str,
    caller: Reader,
    context: Context,
    offset: Annotated[
        int | None, Query(ge=0, description="First byte; null for the end of the log.")
    ] = None,
    limit: Annotated[int, Query(ge=4, le=1 << 20, description="Maximum number of bytes.")] = 65536,
) -> api.LogPart:
    """Part of the log from byte `offset` on. To follow the log, pass `next` as the next offset."""
    return context.jobs.files.log(context.jobs.row(caller.team, job), offset=offset, limit=limit)


@router.get("/jobs/{job}/metrics", summary="List training metrics")
def list_metrics(job: str, caller: Reader, context: Context, page: Paged) -> list[dict[str, Any]]:
    """Loss and time for each stage and step."""
    return page.numbered(context.jobs.files.metrics(context.jobs.row(caller.team, job)))


@router.get("/jobs/{job}/artifacts", summary="List a job's artifacts")
def list_artifacts(job: str, caller: Reader, context: Context, page: Paged) -> list[api.File]:
    """The job's text files, which can be fetched by name."""
    found = context.jobs.files.artifacts(context.jobs.row(caller.team, job))
    return page.items(found, lambda file: (file.name,))


@router.get("/jobs/{job}/artifacts/{name}", summary="Get a job's artifact", **answers("text/plain"))
def get_artifact(job: str, name: str, caller: Reader, context: Context) -> FileResponse:
    """The content of one of the job's text files."""
    path = context.jobs.files.artifact(context.jobs.row(caller.team, job), name)
    return FileResponse(path, media_type="text/plain")


@router.get("/usage", summary="Get the team's usage")
def list_usage(
    caller: Reader,
    context: Context,
    page: Paged,
    by: Literal["team", "run"] = "team",
    since: Moment = 0.0,
    until: Moment | None = None,
) -> list[api.Usage]:
    """GPU-hours and process-hours of the caller's team, including failed attempts of jobs."""
    found = context.accounts.usage(caller.team, by, since=since, until=until)
    return page.items(found, lambda used: (used.team, used.run))


@router.get("/usage/teams", summary="Get the usage of all teams")
def list_usage_of_all(
    caller: QuotaReader,
    context: Context,
    page: Paged,
    by: Literal["team", "run"] = "team",
    since: Moment = 0.0,
    until: Moment | None = None,
) -> list[api.Usage]:
    """GPU-hours and process-hours of every team. Requires `quotas:read`."""
    found = context.accounts.usage(None, by, since=since, until=until)
    return page.items(found, lambda used: (used.team, used.run))


@router.get("/quota", summary="Get the caller's quota")
def get_own_quota(caller: Reader, context: Context) -> api.Quota:
    """The quota of the caller's team and how much of it is used."""
    return context.quotas.get(caller.team)


@router.get("/quotas", summary="List quotas")
def list_quotas(caller: QuotaReader, context: Context, page: Paged) -> list[api.Quota]:
    """The quotas of all teams that have one. Requires `quotas:read`."""
    return context.quotas.all(page)


@router.get("/quotas/{team}", summary="Get a team's quota")
def get_quota(team: str, caller: QuotaReader, context: Context) -> api.Quota:
    """The quota of any team and how much of it is used. Requires `quotas:read`."""
    return context.quotas.get(team)


@router.put("/quotas/{team}", summary="Set a team's quota")
def set_quota(team: str, body: api.QuotaIn, caller: QuotaWriter, context: Context) -> api.Quota:
    """Replace a team's quota. Running jobs continue; queued jobs are subject to it at once."""
    made = context.quotas.set(team, body, by=caller.key)
    context.loop.nudge()
    return made
