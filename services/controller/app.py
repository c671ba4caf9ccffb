"""The controller's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.identity.identity import Identity
from services.chassis.service import create_service
from services.controller import (
    handlers,
    handlers_audit,
    handlers_estimates,
    handlers_identity,
    handlers_operations,
    handlers_recipes,
)
from services.controller.context import ControllerContext


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
