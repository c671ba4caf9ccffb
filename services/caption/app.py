"""The caption service's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.caption.context import CaptionContext
from services.caption.routes import router
from services.caption.routes_openai import router as openai_router
from services.caption.serving.openai_errors import OpenAIErrors
from services.chassis.web.app_factory import create_service
from services.identity.identity import Identity


def create_app(context: CaptionContext, *, identity: Identity) -> FastAPI:
    """Build the app around a context."""
    app = create_service(
        "caption",
        title="caption service",
        routers=[router, openai_router],
        context=context,
        identity=identity,
    )
    app.add_middleware(OpenAIErrors)
    return app
