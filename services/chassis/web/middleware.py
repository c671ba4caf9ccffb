"""Nothing of a body is read before its sender is known, and no more of it than its route takes.

The framework reads a JSON body whole before it asks the route's dependencies, so neither can be
left to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.web.body_settings import Body, BodySettings
from services.chassis.web.errors import (
    ServiceError,
    TooLarge,
    Unauthenticated,
    refusal,
    unreachable,
)
from vila2.client import Unreachable

CALLER = "caller"
_BOUND = "vila2_body"
_KEYED = "/v1/"
LENGTH = re.compile(r"[0-9]{1,18}")

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def takes_body(kind: Body) -> Callable[[Endpoint], Endpoint]:
    """A decorator below a route's: its body is of this kind, and may be as large as those."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _BOUND, kind)
        return endpoint

    return mark


class KeyThenBody:
    """The middleware: it leaves the caller in the request's state, and bounds what is read.

    `authenticate` tells who sends a bearer key, or raises; it may ask a database.
    """

    def __init__(
        self, app: ASGIApp, *, authenticate: Callable[[str], object], bounds: BodySettings
    ) -> None:
        self._app, self._authenticate, self._bounds = app, authenticate, bounds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request without a good key; pass any other on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["path"].removeprefix(scope.get("root_path", "")).startswith(_KEYED):
            try:
                caller = await run_in_threadpool(self._authenticate, _bearer(scope))
            except ServiceError as error:
                await refusal(error)(scope, receive, send)
                return
            except Unreachable:
                await unreachable()(scope, receive, send)
                return
            scope.setdefault("state", {})[CALLER] = caller
        await self._app(scope, _BoundedBody(scope, receive, self._bounds), send)


class _BoundedBody:
    """A `receive` that raises `TooLarge`; the route is known by the time it is called."""

    def __init__(self, scope: Scope, receive: Receive, bounds: BodySettings) -> None:
        self._scope, self._receive, self._bounds = scope, receive, bounds
        self._read = 0

    async def __call__(self) -> Message:
        kind: Body = getattr(self._scope.get("endpoint"), _BOUND, "json")
        declared = Headers(scope=self._scope).get("content-length", "")
        if LENGTH.fullmatch(declared):
            self._check(kind, int(declared))
        message = await self._receive()
        self._read += len(message.get("body", b""))
        self._check(kind, self._read)
        return message

    def _check(self, kind: Body, size: int) -> None:
        most, setting = self._bounds.of(kind)
        if size > most:
            raise TooLarge(
                f"a body here has at most {most:,} bytes",
                field="body",
                fix=f"send less at a time, or have the operator raise {setting}",
            )


def _bearer(scope: Scope) -> str:
    """The bearer key of a request; raises `Unauthenticated` if there is none."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated(
            "this route needs a key", field="Authorization", fix="send `Bearer PREFIX.SECRET`"
        )
    return key.strip()
