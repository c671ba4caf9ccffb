"""The dataset store's app."""

from __future__ import annotations

from fastapi import FastAPI

from services.chassis.auth import KeyRing
from services.chassis.service import create_service
from services.datasets.context import DatasetsContext
from services.datasets.handlers import router


def create_app(context: DatasetsContext, *, keys: KeyRing) -> FastAPI:
    """Build the app around a context."""
    return create_service(
        "datasets", title="dataset store", router=router, context=context, keys=keys
    )
