"""The training dispatcher's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.web.app_factory import create_service
from services.identity.identity import Identity
from services.training import routes, routes_imports, routes_models
from services.training.context import TrainingContext


def create_app(context: TrainingContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "training",
        title="training dispatcher",
        routers=[routes.router, routes_models.router, routes_imports.router],
        context=context,
        identity=identity,
    )
