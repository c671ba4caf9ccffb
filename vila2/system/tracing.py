"""W3C trace context, propagated from a request to the engine.

The trace id exists even if no spans are recorded, so the log lines of one request share it in every
process. Spans are recorded if the process has set a `Recorder`; without one a span costs a
dictionary lookup.

A traceparent is `00-TRACE-SPAN-FLAGS` in 32, 16 and 2 hex digits; bit 0 of the flags asks for the
trace to be recorded (https://www.w3.org/TR/trace-context/).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from typing import Literal, Protocol

HEADER = "traceparent"
Kind = Literal["internal", "server", "client", "consumer"]
Value = str | int | float | bool

_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_current: ContextVar[str] = ContextVar("traceparent", default="")


class Span:
    """A running span; names and attributes have an effect only if spans are recorded."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def rename(self, name: str) -> None:
        """Set a name that was not known when the span began."""

    def set(self, **attributes: Value) -> None:
        """Set attributes; a double underscore in a name becomes a dot."""


class Recorder(Protocol):
    """Interface of a span exporter."""

    def span(
        self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Value]
    ) -> AbstractContextManager[Span]:
        """Start a child span of `parent`, a traceparent, or a new trace if that is empty."""


class _Recording:
    to: Recorder | None = None


def record(recorder: Recorder | None) -> None:
    """Set this process's recorder; `None` stops recording."""
    _Recording.to = recorder


def valid(traceparent: str) -> str:
    """Return a traceparent unchanged, or an empty string if it is invalid (untrusted header)."""
    return traceparent if _FORM.fullmatch(traceparent) else ""


def current() -> str:
    """The current traceparent; empty outside of any trace."""
    return _current.get()


def trace_id(traceparent: str | None = None) -> str:
    """The trace id of a traceparent, by default the current one; empty outside of any trace."""
    return (current() if traceparent is None else traceparent)[3:35]


def headers() -> dict[str, str]:
    """Headers that propagate the trace to another service."""
    return {HEADER: current()} if current() else {}


def root(seed: str, *, recorded: bool) -> str:
    """A traceparent whose trace id is derived from `seed`, so that the trace can be found by it."""
    trace = hashlib.sha256(seed.encode()).hexdigest()[:32]
    return f"00-{trace}-{secrets.token_hex(8)}-{'01' if recorded else '00'}"


@contextmanager
def within(traceparent: str) -> Iterator[None]:
    """Continue that trace without a new span; an empty `traceparent` has no effect."""
    if not valid(traceparent):
        yield
        return
    token = _current.set(traceparent)
    try:
        yield
    finally:
        _current.reset(token)


@contextmanager
def span(
    name: str, *, kind: Kind = "internal", parent: str = "", **attributes: Value
) -> Iterator[Span]:
    """Run the block in a new span, a child of `parent` or of the current span, or in a new trace.

    Do not use in generators: their caller would run in the span's context between two steps.
    """
    above = valid(parent) or current()
    if _Recording.to is None:
        made = Span(above or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
        with within(made.traceparent):
            yield made
        return
    with _Recording.to.span(name, kind, above, attributes) as made, within(made.traceparent):
        yield made
