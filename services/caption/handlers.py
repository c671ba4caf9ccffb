"""The caption service's routes: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.caption.context import CaptionContext
from services.chassis.auth import Principal, require
from vila2.api import caption as api

router = APIRouter(prefix="/v1")
Reader = Annotated[Principal, Depends(require("captions:read"))]
Writer = Annotated[Principal, Depends(require("captions:write"))]


def _context(request: Request) -> CaptionContext:
    context: CaptionContext = request.app.state.context
    return context


Context = Annotated[CaptionContext, Depends(_context)]


@router.post("/layers", summary="Caption a dataset version", status_code=202)
def start_layer(body: api.LayerJobIn, caller: Writer, context: Context) -> api.LayerJob:
    """Open a layer and caption it, one unit of work per shard."""
    job = context.jobs.start(caller.team, body)
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


@router.post("/previews", summary="Caption a few samples now")
def preview(body: api.PreviewIn, caller: Reader, context: Context) -> api.Preview:
    """The captions that the batch would make, by the same path."""
    return context.jobs.preview(caller.team, body)
