"""The controller's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.web.app_factory import create_service
from services.controller import (
    routes,
    routes_audit,
    routes_estimates,
    routes_identity,
    routes_operations,
    routes_recipes,
)
from services.controller.context import ControllerContext
from services.identity.identity import Identity


def create_app(context: ControllerContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    parts = (
        routes, routes_operations, routes_recipes, routes_estimates, routes_identity,
        routes_audit,
    )  # fmt: skip
    return create_service(
        "controller",
        title="controller",
        routers=[part.router for part in parts],
        context=context,
        identity=identity,
    )
