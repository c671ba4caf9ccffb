"""The controller's app."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from services.chassis.auth import KeyRing
from services.chassis.service import create_service
from services.controller import handlers, handlers_operations
from services.controller.context import ControllerContext


def create_app(context: ControllerContext, *, keys: KeyRing) -> FastAPI:
    """Build the app around a context."""
    router = APIRouter()
    router.include_router(handlers.router)
    router.include_router(handlers_operations.router)
    return create_service(
        "controller", title="controller", router=router, context=context, keys=keys
    )
