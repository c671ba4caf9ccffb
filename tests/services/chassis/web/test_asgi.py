"""Requests to apps of this process: each is answered, or its caller is told that nobody will."""

from __future__ import annotations

import asyncio
import threading

import httpx2
import pytest
from fastapi import FastAPI

from services.chassis.web.asgi import AppThread, InProcessTransport, Stopped


def sleeping(entered: threading.Event) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def never() -> None:
        entered.set()
        await asyncio.sleep(1000)

    return app


def test_a_request_in_progress_ends_when_the_apps_stop() -> None:
    """A thread of a service that waits for another service would keep the process alive."""
    entered, raised = threading.Event(), []
    thread, app = AppThread(), sleeping(entered)
    thread.start(app)
    client = httpx2.Client(base_url="http://x/", transport=InProcessTransport(app, thread))

    def ask() -> None:
        with pytest.raises(httpx2.ConnectError, match="has stopped"):
            client.get("/")
        raised.append(True)

    asking = threading.Thread(target=ask)
    asking.start()
    assert entered.wait(30)
    thread.stop()
    asking.join(30)
    assert raised
    with pytest.raises(httpx2.ConnectError, match="has stopped"):
        client.get("/")


def test_a_coroutine_s_own_timeout_is_its_own() -> None:
    thread = AppThread()
    thread.start(FastAPI())

    async def late() -> None:
        raise TimeoutError("mine")

    try:
        with pytest.raises(TimeoutError, match="mine"):
            thread.call(late())
    finally:
        thread.stop()
    with pytest.raises(Stopped):
        thread.call(asyncio.sleep(0))
