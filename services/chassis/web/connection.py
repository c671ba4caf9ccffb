"""Connections that end: a client cannot hold one with a request or a reply that never does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from services.chassis.web.limit_settings import ConnectionSettings

_TOLD = (
    b'{"type": "urn:vila2:problem:timeout", "title": "Timeout", "status": 408, '
    b'"detail": "the head of the request took too long", "fix": "send it at once"}'
)
_TIMEOUT = (
    b"HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_TOLD), _TOLD)
)


def body_deadline(limits: ConnectionSettings, began: float, received: int) -> float:
    """When a body that began at `began` (seconds) with `received` bytes must have gone on. Pure."""
    return began + limits.body_seconds + received / limits.body_rate


class BoundedConnection(H11Protocol):
    """uvicorn's HTTP/1.1 connection with time limits on head, body and reply.

    `_reading_since` is when the request now being received began, in seconds of the monotonic
    clock; `None` while a request is worked on.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionSettings,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self._reading_since: float | None = None
        self._phase: object = None  # of h11: which part of it is being received
        self._received = 0
        self._timer: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    @property
    def waits_for_head(self) -> bool:
        """Whether this connection has not sent a whole head of a request."""
        return bool(self.conn.their_state is h11.IDLE)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept the connection, or close one if there are too many."""
        super().connection_made(transport)
        self._follow()
        if len(self.connections) > self._limits.max_connections:
            _one_too_many(self.connections, self).transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        for timer in (self._timer, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count what comes of a body, and start or end the time limits."""
        self._received += len(data)
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """The next request may begin; it may have been received in part already."""
        super().on_response_complete()
        self._follow()

    def pause_writing(self) -> None:
        """The client has stopped reading."""
        super().pause_writing()
        self._unread = self.loop.call_later(self._limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None
        super().resume_writing()

    def _follow(self) -> None:
        """Start the time limit of what is being received now, or end it."""
        state = self.conn.their_state
        fresh = self.cycle is None
        waiting = state is h11.SEND_BODY or (
            # Between two requests the keep-alive limit holds, until the next one begins.
            state is h11.IDLE and (fresh or bool(self.conn.trailing_data[0]))
        )
        if not waiting:
            self._stop()
            self._reading_since = None
        elif self._reading_since is None or state is not self._phase:
            self._phase = state
            self._reading_since, self._received = time.monotonic(), 0
            self._stop()
            self._look()

    def _look(self) -> None:
        """End the connection if its time is over, else look again when it would be."""
        assert self._reading_since is not None
        now = time.monotonic()
        if self.waits_for_head:
            due = self._reading_since + self._limits.head_seconds
        else:
            due = body_deadline(self._limits, self._reading_since, self._received)
            if self._is_ours_to_go_on():
                # The service has not asked for more yet, so the client is not late.
                self._reading_since += max(0.0, now - due) + 1.0
                due = now + 1.0
        if now < due:
            self._timer = self.loop.call_later(due - now, self._look)
        elif self.waits_for_head:
            self.transport.write(_TIMEOUT)
            self.transport.close()
        else:
            self.transport.abort()

    def _is_ours_to_go_on(self) -> bool:
        return self.flow.read_paused or self.conn.they_are_waiting_for_100_continue

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def bounded(limits: ConnectionSettings) -> Callable[..., asyncio.Protocol]:
    """What makes a server's connections."""
    return partial(BoundedConnection, limits=limits)


def _one_too_many(connections: Any, newest: BoundedConnection) -> BoundedConnection:
    """The connection to close: the one that has waited longest with an unfinished head.

    An ordinary client sends its head at once, so this spares it. If all are at work, the newest.
    """
    idle = [
        each
        for each in connections
        if isinstance(each, BoundedConnection)
        and each is not newest
        and each.waits_for_head
        and each._reading_since is not None
    ]
    return min(idle, key=lambda each: each._reading_since or 0.0, default=newest)
