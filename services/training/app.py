"""The training dispatcher's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.auth import KeyRing
from services.chassis.service import create_service
from services.training.context import TrainingContext
from services.training.handlers import router


def create_app(context: TrainingContext, *, keys: KeyRing) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "training", title="training dispatcher", router=router, context=context, keys=keys
    )
