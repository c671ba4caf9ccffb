"""Streamed answers: converts what a generating thread puts into a queue into pieces of text."""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from typing import Any

from vila2.engine.requests import Generation


def pieces_of(events: Queue[Any]) -> Iterator[str | Generation]:
    """Yield pieces of text, then the answer; an exception in the queue is raised."""
    while True:
        event = events.get()
        if isinstance(event, Exception):
            raise event
        yield event
        if isinstance(event, Generation):
            return


def pieces_of_growing(events: Queue[Any]) -> Iterator[str | Generation]:
    """The same, from a queue that holds the whole text so far.

    If the text ends in an incomplete multi-token character (U+FFFD), that character is held back.
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
