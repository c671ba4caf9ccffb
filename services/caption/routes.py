"""The caption service's routes: parse, call, return."""

from __future__ import annotations

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from services.caption.context import CaptionContext
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.key_then_body import takes_body
from services.chassis.web.paging import Paged
from services.chassis.web.started import Started
from services.identity.require_scope import Principal, require
from vila2.schemas.rest import caption as api

router = APIRouter(prefix="/v1")
_AS_BEFORE = api.ResumeIn()
Reader = Annotated[Principal, Depends(require("captions:read"))]
Writer = Annotated[Principal, Depends(require("captions:write"))]
QuotaReader = Annotated[Principal, Depends(require("quotas:read"))]


def _context(request: Request) -> CaptionContext:
    context: CaptionContext = request.app.state.context
    return context


Context = Annotated[CaptionContext, Depends(_context)]


@router.post("/jobs", summary="Caption a dataset version", status_code=202)
def start_job(
    body: api.CaptionJobIn,
    caller: Writer,
    context: Context,
    started: Started,
    key: IdempotencyKey,
) -> api.CaptionJob:
    """Open a layer and caption it, one work unit per shard."""
    job = context.jobs.start(caller.team, body, key)
    started.tell(f"jobs/{job.id}")
    context.worker.nudge()
    return job


@router.get("/jobs", summary="List caption jobs")
def list_jobs(caller: Reader, context: Context, page: Paged) -> list[api.CaptionJob]:
    """The team's caption jobs, newest first."""
    return context.jobs.of_team(caller.team, page)


@router.get("/jobs/{job}", summary="Get a caption job")
def get_job(job: str, caller: Reader, context: Context) -> api.CaptionJob:
    """The job's state, counts by outcome, cost and progress."""
    return context.jobs.get(caller.team, job)


@router.get("/jobs/{job}/request", summary="Get a caption job's request")
def get_job_request(job: str, caller: Reader, context: Context) -> api.CaptionJobIn:
    """The request that started the job, with names resolved."""
    return context.jobs.request(caller.team, job)


@router.post("/jobs/{job}/cancel", summary="Cancel a caption job")
def cancel_job(job: str, caller: Writer, context: Context) -> api.CaptionJob:
    """Stop the job. Captioned shards stay in the open layer; the others are not started."""
    return context.jobs.cancel(caller.team, job)


@router.post("/jobs/{job}/pause", summary="Pause a caption job")
def pause_job(job: str, caller: Writer, context: Context) -> api.CaptionJob:
    """Start no further shards; running ones finish."""
    return context.control.pause(caller.team, job)


@router.post("/jobs/{job}/resume", summary="Resume a caption job")
def resume_job(
    job: str, caller: Writer, context: Context, body: api.ResumeIn = _AS_BEFORE
) -> api.CaptionJob:
    """Resume the waiting shards, with a new budget if one is given."""
    resumed = context.control.resume(caller.team, job, body.budget)
    context.worker.nudge()
    return resumed


@router.post("/jobs/{job}/retry-failed", summary="Retry failed shards", status_code=202)
def retry_failed(job: str, caller: Writer, context: Context, started: Started) -> api.CaptionJob:
    """Reset the attempts of the failed shards."""
    retried = context.control.retry_failed(caller.team, job)
    started.tell(f"jobs/{retried.id}")
    context.worker.nudge()
    return retried


@router.get("/jobs/{job}/failures", summary="List a caption job's failures")
def get_failures(
    job: str,
    caller: Reader,
    context: Context,
    reason: str = "",
    first: Annotated[int, Query(ge=0, le=2**31 - 1, description="Shard to start from.")] = 0,
) -> api.Failures:
    """Failed shards, and quarantined samples with their reasons and last texts."""
    return context.control.failures(caller.team, job, reason=reason, first=first)


@router.post("/captions", summary="Caption images")
@takes_body("data")
async def caption_images(body: api.CaptionsIn, caller: Reader, context: Context) -> api.Preview:
    """Caption the images in the request as a job would, with the gate and retries."""
    return await context.slow.run(caller.team, partial(context.direct.captions, caller.team, body))


EndpointName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]


@router.get("/endpoints", summary="List endpoints")
def list_endpoints(caller: Reader, context: Context, page: Paged) -> list[api.Endpoint]:
    """The team's endpoints: stable names for models that can be replaced."""
    return context.deployments.endpoints(caller.team, page)


@router.get("/endpoints/{endpoint}", summary="Get an endpoint")
def get_endpoint(endpoint: EndpointName, caller: Reader, context: Context) -> api.Endpoint:
    """The current and the previous model, and the last deployments."""
    return context.deployments.endpoint(caller.team, endpoint)


@router.post("/endpoints/{endpoint}/deployments", summary="Deploy a model", status_code=202)
def deploy_model(
    endpoint: EndpointName,
    body: api.DeploymentIn,
    caller: Writer,
    context: Context,
    started: Started,
) -> api.Deployment:
    """Check a model's weights, scores and answers, then switch the endpoint to it.

    If a check fails, the endpoint is unchanged. No request fails during the switch.
    """
    made = context.deployments.deploy(caller.team, endpoint, body, by=caller.key)
    started.tell(f"deployments/{made.id}")
    context.deployer.nudge()
    return made


@router.post("/endpoints/{endpoint}/rollback", summary="Roll back an endpoint", status_code=202)
def rollback_endpoint(
    endpoint: EndpointName, caller: Writer, context: Context, started: Started
) -> api.Deployment:
    """Deploy the previous model again, without requirements on its scores."""
    made = context.deployments.rollback(caller.team, endpoint, by=caller.key)
    started.tell(f"deployments/{made.id}")
    context.deployer.nudge()
    return made


@router.get("/deployments/{deployment}", summary="Get a deployment")
def get_deployment(deployment: str, caller: Reader, context: Context) -> api.Deployment:
    """The deployment's state, the results of its checks, and why it failed."""
    return context.deployments.get(caller.team, deployment)


@router.post("/previews", summary="Preview captions")
async def preview_captions(body: api.PreviewIn, caller: Reader, context: Context) -> api.Preview:
    """Caption a few samples as a job would, without creating a layer."""
    return await context.slow.run(caller.team, partial(context.previews.preview, caller.team, body))


@router.post("/estimates", summary="Estimate a caption job")
async def estimate_captions(body: api.PreviewIn, caller: Reader, context: Context) -> api.Estimate:
    """Caption a few samples, and extrapolate time, tokens and cost to the whole version."""
    return await context.slow.run(
        caller.team, partial(context.previews.estimate, caller.team, body)
    )


@router.get("/quota", summary="Get the caller's image quota")
def get_own_quota(caller: Reader, context: Context) -> api.ImageQuota:
    """Images captioned today for the caller's team, and its daily limit."""
    return context.quotas.get(caller.team)


@router.get("/quotas/{team}", summary="Get a team's image quota")
def get_quota(team: str, caller: QuotaReader, context: Context) -> api.ImageQuota:
    """Images captioned today for a team, and its daily limit."""
    return context.quotas.get(team)
