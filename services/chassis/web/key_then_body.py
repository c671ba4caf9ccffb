"""Middleware that authenticates before reading a body, limits its size, and shares out turns.

FastAPI reads a JSON body completely before it runs the route's dependencies, so dependencies can do
neither.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol, TypeVar

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.web.errors import (
    ServiceError,
    TooLarge,
    Unauthenticated,
    refusal,
    unreachable,
)
from services.chassis.web.limit_settings import Body, BodySettings, RequestSettings
from services.chassis.web.turns import PerLoop, ordinary_turns
from vila2.client import Unreachable

CALLER = "caller"
_BOUND = "vila2_body"
_KEYED = "/v1/"
_SMALL = 1 << 16  # bytes of a body that have usually arrived with its head
LENGTH = re.compile(r"[0-9]{1,18}")

Endpoint = TypeVar("Endpoint", bound=Callable[..., object])


def takes_body(kind: Body) -> Callable[[Endpoint], Endpoint]:
    """Decorator, placed below the route's: sets the kind of body, and with it the size limit."""

    def mark(endpoint: Endpoint) -> Endpoint:
        setattr(endpoint, _BOUND, kind)
        return endpoint

    return mark


class Caller(Protocol):
    """What the middleware knows of the holder of a key."""

    @property
    def team(self) -> str:
        """The team whose turn a request takes."""

    @property
    def is_service(self) -> bool:
        """Whether it is a service of the platform, which needs no turn."""


class KeyThenBody:
    """The middleware: stores the caller in the request's state and limits body and turns.

    `authenticate` returns the holder of a bearer key, or raises; it may query a database.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        authenticate: Callable[[str], Caller],
        bounds: BodySettings,
        requests: RequestSettings,
    ) -> None:
        self._app, self._authenticate, self._bounds = app, authenticate, bounds
        self._turns = PerLoop(lambda: ordinary_turns(requests))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Reject a request without a valid key; pass on any other."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        bounded = _BoundedBody(scope, receive, self._bounds)
        if not scope["path"].removeprefix(scope.get("root_path", "")).startswith(_KEYED):
            await self._app(scope, bounded, send)
            return
        turns = self._turns.here()
        try:
            caller = await run_in_threadpool(self._authenticate, _bearer(scope))
            if not caller.is_service:
                await turns.take(caller.team)
        except ServiceError as error:
            answer = refusal(error)
            if isinstance(error, Unauthenticated) and _has_large_body(scope):
                # Else the server would go on receiving, only to drop what comes.
                answer.headers["connection"] = "close"
            await answer(scope, receive, send)
            return
        except Unreachable:
            await unreachable()(scope, receive, send)
            return
        scope.setdefault("state", {})[CALLER] = caller
        try:
            await self._app(scope, bounded, send)
        finally:
            if not caller.is_service:
                turns.give_back(caller.team)


class _BoundedBody:
    """A `receive` that raises `TooLarge` past the limit; the route is known when it is called."""

    def __init__(self, scope: Scope, receive: Receive, bounds: BodySettings) -> None:
        self._scope, self._receive, self._bounds = scope, receive, bounds
        self._read = self._commas = 0

    async def __call__(self) -> Message:
        kind: Body = getattr(self._scope.get("endpoint"), _BOUND, "json")
        declared = Headers(scope=self._scope).get("content-length", "")
        if LENGTH.fullmatch(declared):
            self._check(kind, int(declared))
        message = await self._receive()
        piece: bytes = message.get("body", b"")
        self._read += len(piece)
        self._check(kind, self._read)
        self._check_values(kind, piece)
        return message

    def _check(self, kind: Body, size: int) -> None:
        most, setting = self._bounds.of(kind)
        if size > most:
            raise TooLarge(
                f"a body here has at most {most:,} bytes",
                field="body",
                fix=f"send less at a time, or have the operator raise {setting}",
            )

    def _check_values(self, kind: Body, piece: bytes) -> None:
        """Bound the work of checking a body: each wrong value costs far more than its bytes."""
        bound = self._bounds.values_of(kind)
        if bound is None:
            return
        self._commas += piece.count(b",")
        if self._commas > bound[0]:
            raise TooLarge(
                f"a body here has at most {bound[0]:,} values (commas)",
                field="body",
                fix=f"send less at a time, or have the operator raise {bound[1]}",
            )


def _has_large_body(scope: Scope) -> bool:
    headers = Headers(scope=scope)
    length = headers.get("content-length", "")
    return "transfer-encoding" in headers or (
        LENGTH.fullmatch(length) is not None and int(length) > _SMALL
    )


def _bearer(scope: Scope) -> str:
    """The bearer key of a request; raises `Unauthenticated` if there is none."""
    scheme, _, key = Headers(scope=scope).get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key.strip():
        raise Unauthenticated(
            "this route needs a key", field="Authorization", fix="send `Bearer PREFIX.SECRET`"
        )
    return key.strip()
