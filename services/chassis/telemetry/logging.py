"""Structured logging: JSON lines to a file or standard error, with secrets masked."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import structlog

from vila2.system import tracing
from vila2.system.files import make_private

_SECRET = ("authorization", "key", "secret", "token", "password")


def _hide_secrets(
    _: object, __: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for name in event:
        if name.lower() in _SECRET:
            event[name] = "(hidden)"
    return event


def _add_trace(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    if tracing.current():
        event.setdefault("trace_id", tracing.trace_id())
    return event


class _Lines:
    """Writes lines to a stream; what cannot be written there goes to standard error.

    A request must not fail because its line cannot be written: on a full disk, neither its reply
    nor its entry in the audit log would be left.
    """

    def __init__(self, stream: TextIO) -> None:
        self._logger = structlog.PrintLogger(stream)

    def msg(self, message: str) -> None:
        try:
            self._logger.msg(message)
        except (OSError, ValueError):  # ValueError: the stream is closed
            with suppress(OSError, ValueError):
                sys.stderr.write(message + "\n")

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def configure_logging(*, path: Path | None = None) -> None:
    """Append structured logs to `path`, or write them to standard error if it is `None`."""
    stream: TextIO = sys.stderr
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = make_private(path).open("a", buffering=1)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _add_trace,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _hide_secrets,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _Lines(stream),
        cache_logger_on_first_use=False,
    )
