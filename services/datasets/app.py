"""The dataset store's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.identity.identity import Identity
from services.chassis.service import create_service
from services.datasets import handlers, handlers_layers
from services.datasets.context import DatasetsContext


def create_app(context: DatasetsContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "datasets",
        title="dataset store",
        routers=[handlers.router, handlers_layers.router],
        context=context,
        identity=identity,
    )
