"""Grounding answers: boxes as `[xmin,ymin,xmax,ymax]`, integers 000-999 (paper, figure 3).

Boxes over 70 % of the image and more than three boxes of one name are dropped, as the paper
filters its training data (appendix A.2).
"""

from __future__ import annotations

import re
from collections import Counter

_BRACKETS = re.compile(r"\[[^\]]*\]?")
_BOX = re.compile(r"^\[(\d{1,3}),(\d{1,3}),(\d{1,3}),(\d{1,3})\]$")
MAX_AREA = 0.7
MAX_INSTANCES = 3


def boxes(answer: str) -> list[tuple[int, int, int, int]]:
    """All boxes of an answer; raises `ValueError` for brackets that are not a box."""
    found = []
    for text in _BRACKETS.findall(answer):
        match = _BOX.match(text.replace(" ", ""))
        if match is None:
            raise ValueError(f"not a box: {text!r}")
        left, top, right, bottom = (int(value) for value in match.groups())
        found.append((left, top, right, bottom))
    return found


def reason_to_drop(answer: str) -> str | None:
    """`no-box`, `box-malformed`, `box-inverted`, `box-too-large` or `too-many-instances`."""
    try:
        found = boxes(answer)
    except ValueError:
        return "box-malformed"
    if not found:
        return "no-box"
    for left, top, right, bottom in found:
        if right <= left or bottom <= top:
            return "box-inverted"
        if (right - left) * (bottom - top) > MAX_AREA * 1000 * 1000:
            return "box-too-large"
    names = Counter(
        name.strip(" ;,.and").lower() for name in _BRACKETS.split(answer) if name.strip(" ;,.")
    )
    if names and max(names.values()) > MAX_INSTANCES:
        return "too-many-instances"
    return None
