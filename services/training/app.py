"""The training dispatcher's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.identity.identity import Identity
from services.chassis.service import create_service
from services.training import handlers, handlers_models
from services.training.context import TrainingContext


def create_app(context: TrainingContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "training",
        title="training dispatcher",
        routers=[handlers.router, handlers_models.router],
        context=context,
        identity=identity,
    )
