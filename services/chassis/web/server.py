"""The HTTP server of a process, with limits on what a client may hold open."""

from __future__ import annotations

import logging
import resource
import time
from collections import Counter
from collections.abc import Callable
from types import FrameType

import uvicorn
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from services.chassis.web.connection import bounded
from services.chassis.web.errors import Invalid, refusal
from services.chassis.web.limit_settings import ConnectionSettings

# Descriptors that connections leave for databases, objects and files.
SPARE_DESCRIPTORS = 256
LINES_PER_MINUTE = 10
_MINUTE = 60.0


def create_server(
    app: ASGIApp,
    *,
    limits: ConnectionSettings | None = None,
    lifespan: bool = True,
    port: int = 8000,
    stopping: Callable[[], None] = lambda: None,
) -> uvicorn.Server:
    """A server of `app`; without `lifespan`, the app has been started elsewhere.

    `stopping` is called once a signal tells it to stop, before it waits for requests.

    Raises the process's limit of open files as far as it may, and takes fewer connections if that
    is not enough.
    """
    limits = limits or ConnectionSettings()
    files = _raise_open_files(limits.max_connections + SPARE_DESCRIPTORS)
    most = connections_within(limits.max_connections, files)
    limits = limits.model_copy(update={"max_connections": most})
    config = uvicorn.Config(
        OneLength(app),
        port=port,
        log_level="warning",
        lifespan="auto" if lifespan else "off",
        http=bounded(limits),  # type: ignore[arg-type]  # any factory of protocols
        ws="none",
    )
    # After the configuration, which sets up the first of them.
    for name in ("uvicorn.error", "asyncio"):
        _limit_lines(logging.getLogger(name))
    return _Server(config, stopping)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, stopping: Callable[[], None]) -> None:
        super().__init__(config)
        self._stopping = stopping

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if not self.should_exit:
            self._stopping()
        super().handle_exit(sig, frame)


def connections_within(wanted: int, files: int) -> int:
    """The connections that leave enough of `files` descriptors for the rest. Pure."""
    return max(1, min(wanted, files - min(SPARE_DESCRIPTORS, files // 2)))


class OneLength:
    """Refuses a request with both Content-Length and Transfer-Encoding.

    A proxy and a server may disagree about where its body ends, and what one takes for the rest of
    the body, the other takes for the next request (RFC 9112, section 6.1).
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request with at most one of the two."""
        if scope["type"] == "http":
            given = Headers(scope=scope)
            if "content-length" in given and "transfer-encoding" in given:
                answer = refusal(
                    Invalid(
                        "the request has both Content-Length and Transfer-Encoding",
                        field="Transfer-Encoding",
                        fix="send one of the two",
                    )
                )
                answer.status_code = 400
                answer.headers["connection"] = "close"
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


class FewLines(logging.Filter):
    """Lets each message through a few times a minute, and then says how many were dropped."""

    def __init__(self) -> None:
        super().__init__()
        self._minute, self._seen = 0.0, Counter[str]()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether to write a line. Messages are told apart by their template."""
        now = time.monotonic()
        if now - self._minute > _MINUTE:
            dropped = sum(max(0, n - LINES_PER_MINUTE) for n in self._seen.values())
            self._minute, self._seen = now, Counter()
            if dropped:
                record.msg = f"{record.msg} ({dropped:,} such lines were left out before)"
        # A made-up message must not fill the memory, so it counts by its beginning.
        name = str(record.msg)[:40]
        self._seen[name] += 1
        return self._seen[name] <= LINES_PER_MINUTE


def _limit_lines(logger: logging.Logger) -> None:
    if not any(isinstance(held, FewLines) for held in logger.filters):
        logger.addFilter(FewLines())


def _raise_open_files(wanted: int) -> int:
    """Raise the soft limit of open files towards `wanted`; the limit then in force."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= wanted:
        return wanted
    target = wanted if hard == unlimited else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return target
