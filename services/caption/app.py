"""The caption service's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.caption.context import CaptionContext
from services.caption.handlers import router
from services.chassis.identity.identity import Identity
from services.chassis.service import create_service


def create_app(context: CaptionContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "caption", title="caption service", routers=[router], context=context, identity=identity
    )
