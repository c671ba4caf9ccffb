"""Combines the services of a process into one app."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from services.chassis.web.app_factory import add_operations


def front(apps: Mapping[str, FastAPI]) -> FastAPI:
    """One app with each service mounted under its name; a single service is also at the root.

    A proxy can therefore forward paths unchanged, and the pages at `/docs` find their OpenAPI
    documents. The app's lifespan starts and stops all services.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            yield

    made = FastAPI(
        title="VILA²", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan
    )
    for name, app in apps.items():
        made.mount(f"/{name}", app)
    # All services of a process share one metrics registry, so only one address may be scraped.
    add_operations(made)

    @made.get("/", include_in_schema=False)
    def index() -> dict[str, str]:
        return {name: f"/{name}/docs" for name in apps}

    if len(apps) == 1:
        made.mount("", next(iter(apps.values())))
    return made
