"""The app factory: what every service has in common, put together once.

Each app gets the error handler, API-key authentication, request ids in logs and replies, metrics,
health routes, and start and stop hooks for its long-lived objects.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Protocol

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.chassis.auth import KeyRing
from services.chassis.errors import add_error_handlers, unforeseen
from services.chassis.metrics import REQUEST_SECONDS, REQUESTS

_log = structlog.get_logger()
_VERSION = version("vila2")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")


class Context(Protocol):
    """A service's long-lived objects: made before the app, started and stopped with it."""

    def start(self) -> None:
        """Begin background work."""

    def stop(self) -> None:
        """End background work and close what was opened."""


def create_service(
    name: str, *, title: str, router: APIRouter, context: Context, keys: KeyRing
) -> FastAPI:
    """Build a service's app around its routes and context."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.start()
        try:
            yield
        finally:
            context.stop()

    app = FastAPI(title=f"VILA² {title}", version="1", lifespan=lifespan)
    app.state.keys = keys
    app.state.context = context
    add_error_handlers(app)
    _add_middleware(app, name)
    app.include_router(router)
    _add_operations(app)
    return app


def _add_middleware(app: FastAPI, service: str) -> None:
    @app.middleware("http")
    async def observe(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(service=service, request_id=request_id)
        started = time.perf_counter()
        try:
            response = await call_next(request)
        except Exception:
            _log.exception("request broke", path=request.url.path)
            response = unforeseen()
        seconds = time.perf_counter() - started
        # The route's template, not the path: ids would make a series of each.
        route = getattr(request.scope.get("route"), "path", "unmatched")
        REQUESTS.labels(service, request.method, route, str(response.status_code)).inc()
        REQUEST_SECONDS.labels(service, request.method, route).observe(seconds)
        response.headers["X-Request-Id"] = request_id
        if response.status_code >= 500:
            _log.error("request failed", route=route, status=response.status_code)
        return response


def _add_operations(app: FastAPI) -> None:
    @app.get("/healthz", include_in_schema=False)
    def live() -> dict[str, str | float]:
        # Version and clock, so that `vila2 doctor` can compare the services.
        return {"status": "ok", "version": _VERSION, "time": time.time()}

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
