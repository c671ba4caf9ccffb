"""The training dispatcher's routes: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from services.chassis.auth import Principal, require
from services.training.context import TrainingContext
from vila2.api import training as api

router = APIRouter(prefix="/v1")
Reader = Annotated[Principal, Depends(require("models:read"))]
Writer = Annotated[Principal, Depends(require("models:write"))]


def _context(request: Request) -> TrainingContext:
    context: TrainingContext = request.app.state.context
    return context


Context = Annotated[TrainingContext, Depends(_context)]


@router.post("/jobs", summary="Submit a job", status_code=202)
def submit(body: api.JobIn, caller: Writer, context: Context) -> api.Job:
    """Queue a training or evaluation job; a known token returns its job."""
    job = context.jobs.submit(caller.team, body)
    context.loop.nudge()
    return job


@router.get("/jobs/{job}", summary="A job")
def get_job(job: str, caller: Reader, context: Context) -> api.Job:
    """State, progress and result."""
    return context.jobs.get(caller.team, job)


@router.post("/jobs/{job}/cancel", summary="Stop a job")
def cancel(job: str, caller: Writer, context: Context) -> api.Job:
    """Stop a job; what it wrote stays."""
    cancelled = context.jobs.cancel(caller.team, job)
    context.loop.nudge()
    return cancelled


@router.get("/jobs/{job}/log", summary="A job's log")
def log(job: str, caller: Reader, context: Context) -> Response:
    """What the job printed."""
    return Response(context.jobs.log(caller.team, job), media_type="text/plain")


@router.get("/jobs/{job}/artifacts/{name}", summary="A file that a job left")
def artifact(job: str, name: str, caller: Reader, context: Context) -> Response:
    """One of the text files that jobs leave."""
    return Response(context.jobs.artifact(caller.team, job, name), media_type="text/plain")


@router.get("/models", summary="List models")
def list_models(caller: Reader, context: Context) -> list[api.RegisteredModel]:
    """The team's models, oldest first."""
    return context.registry.of_team(caller.team)


@router.get("/models/{name}", summary="A model")
def get_model(name: str, caller: Reader, context: Context) -> api.RegisteredModel:
    """Digest, parent, job and the data it was trained on."""
    return context.registry.get(caller.team, name)
