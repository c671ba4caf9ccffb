"""ASGI middleware that writes the audit log.

`require` stores the caller and the route's scope in the request's state; the middleware reads them
once the status is known and records the request before the response is sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.identity.audit import AuditRecord, worth_recording
from services.identity.scopes import Principal

if TYPE_CHECKING:
    from services.identity.identity import Identity


class AuditTrail:
    """The outermost middleware: it sees the final status and the request's id."""

    def __init__(self, app: ASGIApp, *, service: str, identity: Identity) -> None:
        self._app, self._service, self._identity = app, service, identity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request and record it before its response starts."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def recording(message: Message) -> None:
            if message["type"] == "http.response.start":
                entry = _entry(self._service, scope, message)
                if entry is not None:
                    await run_in_threadpool(self._identity.audit.record, entry)
            await send(message)

        await self._app(scope, receive, recording)


def _entry(service: str, scope: Scope, start: Message) -> AuditRecord | None:
    """The audit record of a request, or `None`; routes without a scope are not recorded.

    A request without a good key (401) does not reach its route.
    """
    state: dict[str, Any] = scope.get("state", {})
    declared: str = state.get("scope", "")
    if not (declared or start["status"] == 401) or not worth_recording(declared, start["status"]):
        return None
    who: Principal | None = state.get("principal")
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    return AuditRecord(
        service=service,
        # A client can make up a method of any length.
        method=scope["method"][:10],
        route=getattr(scope.get("route"), "path", "")[:200],
        # PostgreSQL rejects NUL; a client must not avoid the log by sending one.
        path=path.replace("\0", "\ufffd")[:500],
        status=start["status"],
        key=who.key if who else "",
        user_name=who.user if who else "",
        team=who.team[:60] if who else "",
        request_id=Headers(raw=start["headers"]).get("x-request-id", "")[:64],
    )
