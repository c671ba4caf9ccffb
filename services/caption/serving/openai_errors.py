"""Adds OpenAI's error format, `{"error": {"message": ...}}`, to the problem document.

Clients of OpenAI's API show `error.message`; without it they print only the status. It is a
middleware, so that errors before routing, such as a missing key, have it too.
"""

from __future__ import annotations

import json
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PATHS = ("/v1/chat/", "/v1/models")
_PROBLEM = "application/problem+json"
_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error",
          429: "rate_limit_error"}  # fmt: skip


class OpenAIErrors:
    """The middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Add `error` to problem documents on OpenAI's paths and on paths without a route.

        Clients also try routes that this service does not have, such as `/v1/embeddings`.
        """
        path = scope.get("path", "").removeprefix(scope.get("root_path", ""))
        if scope["type"] != "http" or not path.startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _Adding(send, always=path.startswith(_PATHS)))


class _Adding:
    """A `send` that buffers a problem document until it is complete."""

    def __init__(self, send: Send, *, always: bool) -> None:
        self._send, self._always = send, always
        self._start: Message | None = None
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=message["headers"])
            if headers.get("content-type", "").startswith(_PROBLEM):
                self._start = message
                return
        if self._start is None or message["type"] != "http.response.body":
            await self._send(message)
            return
        self._body += message.get("body", b"")
        if message.get("more_body", False):
            return
        problem = json.loads(self._body)
        if self._always or problem["type"] == "about:blank":  # no route took the request
            problem = with_error(problem)
        data = json.dumps(problem).encode()
        MutableHeaders(raw=self._start["headers"])["content-length"] = str(len(data))
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": data})


def with_error(problem: dict[str, Any]) -> dict[str, Any]:
    """A problem document with OpenAI's `error`: message, type, param and code. Pure."""
    status, fix = int(problem["status"]), problem.get("fix")
    message = f"{problem['detail']}. {fix[0].upper()}{fix[1:]}" if fix else problem["detail"]
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        **problem,
        "error": {
            "message": message,
            "type": kind,
            "param": problem.get("field"),
            "code": str(problem["type"]).rpartition(":")[2],
        },
    }
