"""What a process serves: each of its services below its own name."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import FastAPI

from services.chassis.web.app_factory import add_operations


def front(apps: Mapping[str, FastAPI]) -> FastAPI:
    """One app of several; a single service is at the root too, for a host of its own.

    A proxy can then pass addresses on as they are, and the pages under `docs` find their documents.
    Its lifespan starts and stops the services together.
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
    # All services of a process share one registry: scrape this, or one of them, but not all.
    add_operations(made)

    @made.get("/", include_in_schema=False)
    def index() -> dict[str, str]:
        return {name: f"/{name}/docs" for name in apps}

    if len(apps) == 1:
        made.mount("", next(iter(apps.values())))
    return made
