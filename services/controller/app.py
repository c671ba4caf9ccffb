"""The controller's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.auth import KeyRing
from services.chassis.service import create_service
from services.controller.context import ControllerContext
from services.controller.handlers import router


def create_app(context: ControllerContext, *, keys: KeyRing) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "controller", title="controller", router=router, context=context, keys=keys
    )
