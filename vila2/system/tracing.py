"""Which trace work belongs to: W3C trace context, carried from a request to the engine.

The trace's id is there whether or not anybody records spans: the log lines of one request then
agree in every process that it reaches. Spans are recorded where a process has given a `Recorder`;
without one a span costs a dictionary look-up.

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
    """Work that is going on; what is set here is kept only where spans are recorded."""

    def __init__(self, traceparent: str) -> None:
        self.traceparent = traceparent

    def rename(self, name: str) -> None:
        """Give it the name that was not known when it began."""

    def set(self, **attributes: Value) -> None:
        """Say more about it; a double underscore in a name stands for a dot."""


class Recorder(Protocol):
    """Where spans go."""

    def span(
        self, name: str, kind: Kind, parent: str, attributes: Mapping[str, Value]
    ) -> AbstractContextManager[Span]:
        """A span below `parent`, a traceparent; a new trace where that is empty."""


class _Recording:
    to: Recorder | None = None


def record(recorder: Recorder | None) -> None:
    """Send this process's spans there from now on; `None` records none."""
    _Recording.to = recorder


def valid(traceparent: str) -> str:
    """The traceparent as it came, or nothing where it is not one: it may be anybody's header."""
    return traceparent if _FORM.fullmatch(traceparent) else ""


def current() -> str:
    """The traceparent of what runs here now; empty outside of any trace."""
    return _current.get()


def trace_id(traceparent: str | None = None) -> str:
    """A traceparent's trace, by default the current one's; empty outside of any."""
    return (current() if traceparent is None else traceparent)[3:35]


def headers() -> dict[str, str]:
    """What a request to another service carries."""
    return {HEADER: current()} if current() else {}


def root(seed: str, *, recorded: bool) -> str:
    """A traceparent whose trace follows from `seed`, so that whoever knows that finds it again."""
    trace = hashlib.sha256(seed.encode()).hexdigest()[:32]
    return f"00-{trace}-{secrets.token_hex(8)}-{'01' if recorded else '00'}"


@contextmanager
def within(traceparent: str) -> Iterator[None]:
    """Go on in that trace without a span of one's own; an empty one leaves things as they are."""
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
    """Work of its own, below `parent` or else what runs now; without either a trace begins.

    Not for generators: between two of their steps others run in their context.
    """
    above = valid(parent) or current()
    if _Recording.to is None:
        made = Span(above or f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
        with within(made.traceparent):
            yield made
        return
    with _Recording.to.span(name, kind, above, attributes) as made, within(made.traceparent):
        yield made
