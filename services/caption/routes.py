"""The caption service's routes: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import StreamingResponse

from services.caption.context import CaptionContext
from services.caption.serving.openai_chat import stream_of
from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.middleware import takes_body
from services.chassis.web.paging import Paged
from services.chassis.web.started import Started
from services.identity.require import Principal, require
from vila2.schemas.rest import caption as api
from vila2.schemas.rest import openai

router = APIRouter(prefix="/v1")
Reader = Annotated[Principal, Depends(require("captions:read"))]
Writer = Annotated[Principal, Depends(require("captions:write"))]
QuotaReader = Annotated[Principal, Depends(require("quotas:read"))]


def _context(request: Request) -> CaptionContext:
    context: CaptionContext = request.app.state.context
    return context


Context = Annotated[CaptionContext, Depends(_context)]


@router.post("/layers", summary="Caption a dataset version", status_code=202)
def start_layer(
    body: api.LayerJobIn,
    caller: Writer,
    context: Context,
    started: Started,
    key: IdempotencyKey,
) -> api.LayerJob:
    """Open a layer and caption it, one unit of work per shard."""
    job = context.jobs.start(caller.team, body, key)
    started.tell(f"layers/{job.id}")
    context.worker.nudge()
    return job


@router.get("/layers/{job}", summary="How far a layer is")
def get_layer(job: str, caller: Reader, context: Context) -> api.LayerJob:
    """State, counts by outcome, and progress."""
    return context.jobs.get(caller.team, job)


@router.post("/layers/{job}/cancel", summary="Stop captioning")
def cancel_layer(job: str, caller: Writer, context: Context) -> api.LayerJob:
    """Stop; a worker in the middle of a shard loses its fence."""
    return context.jobs.cancel(caller.team, job)


@router.post("/layers/{job}/pause", summary="Pause captioning")
def pause_layer(job: str, caller: Writer, context: Context) -> api.LayerJob:
    """Begin no further shard; those in the middle finish."""
    return context.control.pause(caller.team, job)


@router.post("/layers/{job}/resume", summary="Resume captioning")
def resume_layer(
    job: str, caller: Writer, context: Context, body: api.ResumeIn | None = None
) -> api.LayerJob:
    """Resume the waiting shards, with a new budget if one is given."""
    resumed = context.control.resume(caller.team, job, body.budget if body else None)
    context.worker.nudge()
    return resumed


@router.post("/layers/{job}/retry-failed", summary="Retry failed shards", status_code=202)
def retry_failed(job: str, caller: Writer, context: Context, started: Started) -> api.LayerJob:
    """Give the shards that gave up all their attempts again."""
    retried = context.control.retry_failed(caller.team, job)
    started.tell(f"layers/{retried.id}")
    context.worker.nudge()
    return retried


@router.get("/layers/{job}/failures", summary="What went wrong")
def get_failures(
    job: str,
    caller: Reader,
    context: Context,
    reason: str = "",
    first: Annotated[int, Query(ge=0, le=2**31 - 1, description="Go on from this shard.")] = 0,
) -> api.Failures:
    """Shards that gave up, and quarantined samples with their reasons and refused texts."""
    return context.control.failures(caller.team, job, reason=reason, first=first)


@router.post("/captions", summary="Caption images now")
@takes_body("data")
def caption_images(body: api.CaptionsIn, caller: Reader, context: Context) -> api.Preview:
    """Caption the images in the request by the batch's path, gate and retries included."""
    return context.direct.captions(caller.team, body)


@router.get("/models", summary="Models that can be asked (OpenAI)")
def list_served_models(caller: Reader, context: Context) -> openai.ServedModels:
    """The team's models, in OpenAI's form."""
    return context.direct.models(caller.team)


@router.post(
    "/chat/completions",
    summary="Ask about an image (OpenAI)",
    response_model=None,
    responses={200: {"model": openai.ChatCompletion, "content": {"text/event-stream": {}}}},
)
@takes_body("data")
def complete_chat(
    body: openai.ChatIn, caller: Reader, context: Context
) -> openai.ChatCompletion | StreamingResponse:
    """One user message with an image and a question; `stream` sends the words one by one."""
    pieces = context.direct.chat(caller.team, body)
    if not body.stream:
        return next(piece for piece in pieces if not isinstance(piece, str))
    usage = body.stream_options is not None and body.stream_options.include_usage
    events = stream_of(pieces, model=body.model, usage=usage)
    return StreamingResponse(events, media_type="text/event-stream")


EndpointName = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]


@router.get("/endpoints", summary="Endpoints")
def list_endpoints(caller: Reader, context: Context, page: Paged) -> list[api.Endpoint]:
    """Names that stay while the models behind them change."""
    return context.deployments.endpoints(caller.team, page)


@router.get("/endpoints/{endpoint}", summary="An endpoint")
def get_endpoint(endpoint: EndpointName, caller: Reader, context: Context) -> api.Endpoint:
    """The model behind it, the one before, and its deployments."""
    return context.deployments.endpoint(caller.team, endpoint)


@router.post("/endpoints/{endpoint}/deployments", summary="Deploy a model", status_code=202)
def deploy_model(
    endpoint: EndpointName,
    body: api.DeploymentIn,
    caller: Writer,
    context: Context,
    started: Started,
) -> api.Deployment:
    """Check its weights and scores, load it, compare its answers with the trainer's, and switch.

    A model that fails a check leaves the endpoint as it was; no request fails meanwhile.
    """
    made = context.deployments.deploy(caller.team, endpoint, body, by=caller.key)
    started.tell(f"deployments/{made.id}")
    context.deployer.nudge()
    return made


@router.post("/endpoints/{endpoint}/rollback", summary="Roll back", status_code=202)
def rollback_endpoint(
    endpoint: EndpointName, caller: Writer, context: Context, started: Started
) -> api.Deployment:
    """Deploy the model before the present one again, without requirements on its scores."""
    made = context.deployments.rollback(caller.team, endpoint, by=caller.key)
    started.tell(f"deployments/{made.id}")
    context.deployer.nudge()
    return made


@router.get("/deployments/{deployment}", summary="How far a deployment is")
def get_deployment(deployment: str, caller: Reader, context: Context) -> api.Deployment:
    """Its state, the evidence, and why it failed."""
    return context.deployments.get(caller.team, deployment)


@router.post("/previews", summary="Caption a few samples now")
def preview_captions(body: api.PreviewIn, caller: Reader, context: Context) -> api.Preview:
    """The captions that the batch would make, by the same path."""
    return context.previews.preview(caller.team, body)


@router.post("/estimates", summary="Estimate a caption job")
def estimate_captions(body: api.PreviewIn, caller: Reader, context: Context) -> api.Estimate:
    """Caption a few samples, and extrapolate time, tokens and cost to the whole version."""
    return context.previews.estimate(caller.team, body)


@router.get("/quota", summary="The caller's images of today")
def get_own_quota(caller: Reader, context: Context) -> api.ImageQuota:
    """How many images the caller's team had captioned today, and how many it may."""
    return context.quotas.get(caller.team)


@router.get("/quotas/{team}", summary="A team's images of today")
def get_quota(team: str, caller: QuotaReader, context: Context) -> api.ImageQuota:
    """The same of any team, for whoever keeps the limits."""
    return context.quotas.get(team)
