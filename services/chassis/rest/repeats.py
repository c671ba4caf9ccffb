"""Requests that found done what they ask for.

Services ask for a step again, by its token, until it has ended: thousands of requests that change
nothing. Whoever finds a token known says so here, and the audit log leaves them out.
"""

from __future__ import annotations

from contextvars import ContextVar

# A handler runs in a thread with a copy of the request's context: the list is shared.
_FOUND: ContextVar[list[str] | None] = ContextVar("vila2_repeats", default=None)


def begin() -> list[str]:
    """Begin a request; what is returned is empty until something was found."""
    found: list[str] = []
    _FOUND.set(found)
    return found


def found(token: str) -> None:
    """The request in hand asks for what this token asked for before."""
    held = _FOUND.get()
    if held is not None:
        held.append(token)
