"""The app factory: everything that all services share.

Each app gets error handlers, authentication (the `Door` passed in), request ids in logs and
responses, metrics, health routes, and start and stop hooks for its long-lived objects.
"""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from importlib.metadata import version
from typing import Protocol

import structlog
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from services.chassis.reference.page import HEADERS, reference_page
from services.chassis.telemetry.metrics import REQUEST_SECONDS, REQUESTS
from services.chassis.web.errors import add_error_handlers, unforeseen
from services.chassis.web.key_then_body import Caller, KeyThenBody
from services.chassis.web.limit_settings import BodySettings, RequestSettings
from services.chassis.web.openapi import complete_document
from vila2.system import tracing
from vila2.system.request_id import request_id as current_request

_log = structlog.get_logger()
_VERSION = version("vila2")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9_-]{1,64}$")
# Any other method is counted under one name, since clients can make up as many as they like.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_OPERATIONS = ("/healthz", "/readyz", "/metrics")  # polled every few seconds, so not traced


class Door(Protocol):
    """Authentication; services pass in `services.identity`."""

    def principal(self, bearer: str, /) -> Caller:
        """The sender of a bearer token; raises `Unauthenticated`. May query a database."""

    def watch(self, app: FastAPI, service: str, /) -> None:
        """Add the audit middleware around the whole app."""


class Context(Protocol):
    """A service's long-lived objects, created before the app and started and stopped with it."""

    def start(self) -> None:
        """Begin background work."""

    def check(self) -> None:
        """Raise the storage's error if requests that change something would fail."""

    def stop(self) -> None:
        """End background work and close resources."""


def create_service(
    name: str, *, title: str, routers: Sequence[APIRouter], context: Context, identity: Door
) -> FastAPI:
    """Build a service's app around its routes and context.

    Pass several routers side by side: FastAPI prepares their routes lazily, but prepares nested
    routers eagerly, and twice.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        context.start()
        try:
            yield
        finally:
            # In a thread: work in progress may still ask this loop's apps, and is waited for.
            await run_in_threadpool(context.stop)

    app = FastAPI(
        title=f"VILA² {title}",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.identity = identity
    app.state.context = context
    add_error_handlers(app)
    complete_document(app)
    app.add_middleware(
        KeyThenBody,
        authenticate=identity.principal,
        bounds=BodySettings(),
        requests=RequestSettings(),
    )
    _add_middleware(app, name)
    identity.watch(app, name)
    for router in routers:
        app.include_router(router)
    add_operations(app)
    _add_reference(app)
    _add_readiness(app, context)
    return app


def _add_middleware(app: FastAPI, service: str) -> None:
    @app.middleware("http")
    async def observe(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        given = request.headers.get("x-request-id", "")
        request_id = given if _REQUEST_ID.match(given) else uuid.uuid4().hex
        current_request.set(request_id)
        structlog.contextvars.bind_contextvars(service=service, request_id=request_id)
        started = time.perf_counter()
        method = request.method if request.method in _METHODS else "OTHER"
        with _span_of(request) as span:
            try:
                response = await call_next(request)
            except ClientDisconnect:
                # Nobody reads this reply, and a client that leaves is no fault of the service.
                response = Response(status_code=499)
            except Exception as error:
                _log.exception("request broke", path=request.url.path)
                response = unforeseen(error)
            # The route's template, not the path: ids would each create a series.
            route = getattr(request.scope.get("route"), "path", "unmatched")
            span.rename(f"{method} {route}")
            span.set(http__route=route, http__response__status_code=response.status_code)
            if response.status_code >= 500:
                _log.error("request failed", route=route, status=response.status_code)
        seconds = time.perf_counter() - started
        REQUESTS.labels(service, method, route, str(response.status_code)).inc()
        REQUEST_SECONDS.labels(service, method, route).observe(seconds)
        response.headers["X-Request-Id"] = request_id
        return response


def _span_of(request: Request) -> AbstractContextManager[tracing.Span]:
    if request.url.path.endswith(_OPERATIONS):
        return nullcontext(tracing.Span(""))
    return tracing.span(
        request.method,
        kind="server",
        parent=request.headers.get(tracing.HEADER, ""),
        http__request__method=request.method,
        url__path=request.url.path,
    )


def _add_reference(app: FastAPI) -> None:
    """`/docs`: a page of ours, since FastAPI's loads a program from another site."""

    def reference(_: Request) -> Response:
        return HTMLResponse(reference_page(app.openapi()), headers=HEADERS)

    app.add_route("/docs", reference, include_in_schema=False)


def _add_readiness(app: FastAPI, context: Context) -> None:
    """`/readyz`: 200 while requests can succeed; a process that is alive need not be ready."""

    @app.get("/readyz", include_in_schema=False)
    def ready() -> Response:
        try:
            context.check()
        except Exception as error:
            _log.warning("not ready", reason=str(error)[:300])
            return unforeseen(error)
        return JSONResponse({"status": "ready"})


def add_operations(app: FastAPI) -> None:
    """Add the operations routes: unauthenticated and not in the OpenAPI document."""

    # Not a thread's work: it answers while all threads are busy, so that a busy process is not
    # restarted as a dead one.
    @app.get("/healthz", include_in_schema=False)
    async def live() -> dict[str, str | float]:
        # Version and clock, so that `vila2 doctor` can compare the services.
        return {"status": "ok", "version": _VERSION, "time": time.time()}

    @app.get("/metrics", include_in_schema=False)
    def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
