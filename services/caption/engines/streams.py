"""Streams of answers: what a generating thread puts into a queue, as pieces for the caller."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from typing import Any

from vila2.engine.requests import Generation


def pieces_of(events: Queue[Any]) -> Iterator[str | Generation]:
    """Pieces of text until the answer; an exception in the queue is raised."""
    while True:
        event = events.get()
        if isinstance(event, Exception):
            raise event
        yield event
        if isinstance(event, Generation):
            return


def pieces_of_growing(events: Queue[Any]) -> Iterator[str | Generation]:
    """The same from a queue of the whole text so far.

    A text that ends within a character of several tokens (U+FFFD) waits for the rest of it.
    """
    sent = 0
    for event in pieces_of(events):
        text = event if isinstance(event, str) else event.text
        whole = not isinstance(event, str) or not text.endswith("\ufffd")
        if whole and len(text) > sent:
            yield text[sent:]
            sent = len(text)
        if not isinstance(event, str):
            yield event
