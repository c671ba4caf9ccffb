"""The training dispatcher's app."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from services.chassis.identity.identity import Identity
from services.chassis.service import create_service
from services.training import handlers, handlers_models
from services.training.context import TrainingContext


def create_app(context: TrainingContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    router = APIRouter()
    router.include_router(handlers.router)
    router.include_router(handlers_models.router)
    return create_service(
        "training", title="training dispatcher", router=router, context=context, identity=identity
    )
