"""Calling an app in the same process through the same client that calls it over HTTP.

The app runs on one event loop in a thread of its own; a synchronous client hands each request to
that loop and waits. Requests and replies are whole, as they would be over the wire.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import httpx2
from fastapi import FastAPI

T = TypeVar("T")


class AppThread:
    """An event loop in a thread, on which apps live from `start` to `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="apps", daemon=True)
        self._stack = AsyncExitStack()

    def start(self, app: FastAPI) -> None:
        """Run the app's start hooks, which ASGI clients do not do by themselves."""
        if not self._thread.is_alive():
            self._thread.start()
        self.call(self._stack.enter_async_context(app.router.lifespan_context(app)))

    def stop(self) -> None:
        """Run every app's stop hooks, last started first, and end the loop."""
        if self._thread.is_alive():
            self.call(self._stack.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=30)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


class InProcessTransport(httpx2.BaseTransport):
    """A client transport that ends in an app of an `AppThread`."""

    def __init__(self, app: FastAPI, thread: AppThread) -> None:
        self._transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        self._thread = thread

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send one request through the app."""
        request.read()

        async def send() -> tuple[httpx2.Response, bytes]:
            response = await self._transport.handle_async_request(request)
            return response, await response.aread()

        response, body = self._thread.call(send())
        return httpx2.Response(response.status_code, headers=response.headers, content=body)
