"""Parsing of benchmark answers: normalised text, yes/no, options, and boxes. Pure.

Used to validate benchmark questions when they are stored and to score answers.
"""

from __future__ import annotations

import re
import string
import unicodedata

Box = tuple[int, int, int, int]
BOX_LIMIT = 999
# Metrics of an answer's text, and those of questions with given options.
TEXT_METRICS = (
    "anls", "chrf", "cider", "contains", "edit", "exact", "iou", "iou50", "object_f1", "yes_no",
)  # fmt: skip
CHOICE_METRICS = ("choice", "likelihood")
MOST_OPTIONS = len(string.ascii_uppercase)


def normalise(text: str) -> str:
    """Fold case, turn punctuation into spaces, and join words by single spaces."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(re.sub(r"[\W_]+", " ", folded).split())


def stance(text: str) -> str:
    """Return `yes` or `no` if the text contains exactly one of them, else an empty string."""
    said = {"yes", "no"} & set(normalise(text).split())
    return said.pop() if len(said) == 1 else ""


_BRACKETED = re.compile(r"\[([^\[\]]*)\]")
_COORDINATES = re.compile(r"\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*", re.A)


def parse_boxes(text: str) -> tuple[Box, ...]:
    """Read every `[xmin,ymin,xmax,ymax]` in a text, in order.

    Co-ordinates are whole thousandths of the image's width and height, 0 to 999 (arXiv
    2407.17453, section 2.2). Raises `ValueError` for a bracket that does not hold four such
    numbers, is never closed, or whose box has no area (inverted or empty).
    """
    boxes = []
    for match in _BRACKETED.finditer(text):
        numbers = _COORDINATES.fullmatch(match[1])
        if numbers is None:
            raise ValueError(f"{match[0]!r} is not [xmin,ymin,xmax,ymax] in whole 0..{BOX_LIMIT}")
        xmin, ymin, xmax, ymax = (int(number) for number in numbers.groups())
        if xmin >= xmax or ymin >= ymax:
            raise ValueError(f"{match[0]!r} has no area: xmin < xmax and ymin < ymax are needed")
        boxes.append((xmin, ymin, xmax, ymax))
    if set("[]") & set(_BRACKETED.sub("", text)):
        raise ValueError("a bracket has no partner")
    return tuple(boxes)
