"""Lets the HTTP client call an app in the same process.

Apps run on one event loop in a separate thread; a synchronous client submits each request to that
loop and waits. Requests and responses are buffered in full, so nothing is streamed.
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
# How often a caller that waits looks whether the loop still runs, in seconds.
_LOOK_SECONDS = 1.0


class Stopped(RuntimeError):
    """The loop has stopped, so nothing will answer any more."""


class AppThread:
    """An event loop in its own thread, which runs apps from `start` to `stop`."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="apps", daemon=True)
        self._stack = AsyncExitStack()

    def start(self, app: FastAPI) -> None:
        """Enter the app's lifespan, which an ASGI transport does not do by itself."""
        if not self._thread.is_alive():
            self._thread.start()
        self.call(self._stack.enter_async_context(app.router.lifespan_context(app)))

    def stop(self) -> None:
        """Exit every app's lifespan, last started first, and stop the loop."""
        if self._thread.is_alive():
            self.call(self._stack.aclose())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(timeout=30)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop and return its result, or raise its exception.

        Raises `Stopped` if the loop stops meanwhile: a thread of a service would wait for ever, and
        the process with it.
        """
        asked = asyncio.run_coroutine_threadsafe(work, self._loop)
        while True:
            try:
                return asked.result(_LOOK_SECONDS)
            except TimeoutError:
                if asked.done():
                    raise  # the coroutine's own
                if not self._thread.is_alive():
                    raise Stopped("the platform of this process has stopped") from None


class InProcessTransport(httpx2.BaseTransport):
    """A client transport that sends requests to an app of an `AppThread`."""

    def __init__(self, app: FastAPI, thread: AppThread) -> None:
        self._transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        self._thread = thread

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Pass one request to the app and return the complete response."""
        request.read()

        async def send() -> tuple[httpx2.Response, bytes]:
            response = await self._transport.handle_async_request(request)
            return response, await response.aread()

        try:
            response, body = self._thread.call(send())
        except Stopped as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        return httpx2.Response(response.status_code, headers=response.headers, content=body)
