"""The specialist service's routes: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.chassis.web.idempotency import IdempotencyKey
from services.chassis.web.started import Started
from services.identity.require_scope import Principal, require
from services.specialist.context import SpecialistContext
from vila2.schemas.rest import specialist as api

router = APIRouter(prefix="/v1")
Reader = Annotated[Principal, Depends(require("models:read"))]
Writer = Annotated[Principal, Depends(require("models:write"))]


def _context(request: Request) -> SpecialistContext:
    context: SpecialistContext = request.app.state.context
    return context


Context = Annotated[SpecialistContext, Depends(_context)]


@router.post("/specialists", summary="Start a specialist", status_code=202)
def start_specialist(
    body: api.SpecialistIn,
    caller: Writer,
    context: Context,
    started: Started,
    key: IdempotencyKey,
) -> api.Specialist:
    """Finetune a specialist from its parent model, then recaption the dataset with it."""
    made = context.specialists.start(caller.team, body, key)
    started.tell(f"specialists/{made.id}")
    context.loop.nudge()
    return made


@router.get("/specialists/{specialist_id}", summary="Get a specialist")
def get_specialist(specialist_id: str, caller: Reader, context: Context) -> api.Specialist:
    """The specialist's state, model, layer and progress."""
    return context.specialists.get(caller.team, specialist_id)


@router.post("/specialists/{specialist_id}/cancel", summary="Cancel a specialist")
def cancel_specialist(specialist_id: str, caller: Writer, context: Context) -> api.Specialist:
    """Cancel a specialist and the jobs that it started in other services."""
    return context.specialists.cancel(caller.team, specialist_id)
