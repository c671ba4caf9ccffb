"""OCR answers: they must quote text; "there is no text" is not a turn worth training on.

The paper's released samples contain such boilerplate; an image without text gets no OCR turn.
"""

from __future__ import annotations

import re

_NOTHING = re.compile(
    r"\b(no|not any|without|does not contain|doesn't contain|cannot see|can't see)\b[^.]*"
    r"\b(text|words?|letters?|numbers?|writing|print)\b",
    re.IGNORECASE,
)
_SOMETHING = re.compile(r"\d|[\"'“”‘’«»]|\b(reads?|says?|written|number|text|word|letter)\b", re.I)


def reason_to_drop(answer: str) -> str | None:
    """`no-text` if the answer states that there is none or quotes nothing."""
    if _NOTHING.search(answer) or not _SOMETHING.search(answer):
        return "no-text"
    return None
