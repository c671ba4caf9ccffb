"""The controller's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.web.app_factory import create_service
from services.controller import routes as handlers
from services.controller import routes_audit as handlers_audit
from services.controller import routes_estimates as handlers_estimates
from services.controller import routes_identity as handlers_identity
from services.controller import routes_operations as handlers_operations
from services.controller import routes_recipes as handlers_recipes
from services.controller.context import ControllerContext
from services.identity.identity import Identity


def create_app(context: ControllerContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    parts = (
        handlers, handlers_operations, handlers_recipes, handlers_estimates, handlers_identity,
        handlers_audit,
    )  # fmt: skip
    return create_service(
        "controller",
        title="controller",
        routers=[part.router for part in parts],
        context=context,
        identity=identity,
    )
