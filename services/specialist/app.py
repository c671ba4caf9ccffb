"""The specialist service's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.web.app_factory import create_service
from services.identity.identity import Identity
from services.specialist.context import SpecialistContext
from services.specialist.routes import router


def create_app(context: SpecialistContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "specialist",
        title="specialist service",
        routers=[router],
        context=context,
        identity=identity,
    )
