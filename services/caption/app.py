"""The caption service's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.caption.context import CaptionContext
from services.caption.routes import router
from services.chassis.web.app_factory import create_service
from services.identity.identity import Identity


def create_app(context: CaptionContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "caption", title="caption service", routers=[router], context=context, identity=identity
    )
