"""The dataset store's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.web.app_factory import create_service
from services.datasets import routes, routes_layers, routes_upkeep
from services.datasets.context import DatasetsContext
from services.identity.identity import Identity


def create_app(context: DatasetsContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "datasets",
        title="dataset store",
        routers=[routes.router, routes_layers.router, routes_upkeep.router],
        context=context,
        identity=identity,
    )
