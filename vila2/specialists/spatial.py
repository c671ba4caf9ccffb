"""Spatial answers: they must say where something is."""

from __future__ import annotations

import re

_RELATION = re.compile(
    r"\b(left|right|top|bottom|above|below|under|over|behind|front|between|beside|next to|near|"
    r"close|closest|far|farthest|inside|outside|corner|cent(er|re)|middle|foreground|background|"
    r"on|in|at)\b",
    re.IGNORECASE,
)


def reason_to_drop(answer: str) -> str | None:
    """`no-relation` for an answer without a single spatial word."""
    return None if _RELATION.search(answer) else "no-relation"
