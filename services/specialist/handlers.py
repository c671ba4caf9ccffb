"""The specialist service's routes: parse, call, return."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from services.chassis.auth import Principal, require
from services.specialist.context import SpecialistContext
from vila2.api import specialist as api

router = APIRouter(prefix="/v1")
Reader = Annotated[Principal, Depends(require("models:read"))]
Writer = Annotated[Principal, Depends(require("models:write"))]


def _context(request: Request) -> SpecialistContext:
    context: SpecialistContext = request.app.state.context
    return context


Context = Annotated[SpecialistContext, Depends(_context)]


@router.post("/specialists", summary="Start a specialist", status_code=202)
def start(body: api.SpecialistIn, caller: Writer, context: Context) -> api.Specialist:
    """Finetune it from its parent, then let it recaption the dataset."""
    started = context.specialists.start(caller.team, body)
    context.loop.nudge()
    return started


@router.get("/specialists/{specialist}", summary="A specialist")
def get_specialist(specialist: str, caller: Reader, context: Context) -> api.Specialist:
    """State, model, layer and progress."""
    return context.specialists.get(caller.team, specialist)


@router.post("/specialists/{specialist}/cancel", summary="Stop a specialist")
def cancel(specialist: str, caller: Writer, context: Context) -> api.Specialist:
    """Stop it and what it has others do."""
    return context.specialists.cancel(caller.team, specialist)
