"""Scorers: how good one answer is, from 0 to 1, without a model or a network.

`score` dispatches on the metric's name as benchmarks spell it. Answers come from a model and may
be any text: a scorer gives a bad answer 0 and never raises. What is expected comes from a
benchmark: there a mistake is an error. Metrics of text as it is spelt are in `text_scorers.py`,
questions with given options in `choice.py`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from vila2.data.answers import Box, normalise, parse_boxes, stance
from vila2.evaluation.metrics.text_scorers import anls, chrf, edit_similarity

SIZES = ("small", "large")
COLOURS = (
    "red", "green", "blue", "yellow", "purple", "orange", "cyan", "white", "black", "grey", "pink",
    "brown",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle", "cross", "star", "diamond", "ring", "bar")
SYNONYMS = {"big": "large", "gray": "grey"}
IOU_THRESHOLD = 0.5


def score(metric: str, answer: str, expected: Sequence[str]) -> float:
    """Score `answer` by `metric` against the expected answers; the best match counts.

    Raises `ValueError` for an unknown metric or no expected answer, and `TypeError` when
    `expected` is a lone string.
    """
    scorer = METRICS.get(metric)
    if scorer is None:
        raise ValueError(f"unknown metric {metric!r}; known: {', '.join(sorted(METRICS))}")
    if isinstance(expected, str):
        raise TypeError("expected answers are a list of strings, not one string")
    if not expected:
        raise ValueError(f"metric {metric!r} needs at least one expected answer")
    return scorer(answer, expected)


def exact(answer: str, expected: Sequence[str]) -> float:
    """Return 1.0 if the answer equals an expected one, ignoring case, space and punctuation."""
    given = normalise(answer)
    return float(bool(given) and any(given == normalise(text) for text in expected))


def contains(answer: str, expected: Sequence[str]) -> float:
    """Return 1.0 when an expected answer's words appear, whole and in a row, in the answer."""
    given = f" {normalise(answer)} "
    wanted = [normalise(text) for text in expected]
    return float(any(words and f" {words} " in given for words in wanted))


def yes_no(answer: str, expected: Sequence[str]) -> float:
    """Return 1.0 if the answer contains the expected one of yes and no, and not the other."""
    wanted = {stance(text) for text in expected}
    if "" in wanted:
        raise ValueError(f"metric 'yes_no' expects yes or no, not {list(expected)}")
    return float(stance(answer) in wanted)


_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_OBJECT = re.compile(
    rf"\b(?:(?P<count>{'|'.join(_NUMBERS)})\s+)?"
    rf"(?:(?P<size>{'|'.join((*SIZES, 'big'))})[\s,]+)?"
    rf"(?:(?P<colour>{'|'.join((*COLOURS, 'gray'))})[\s,]+)?"
    rf"(?P<shape>{'|'.join(SHAPES)})(?P<plural>e?s)?\b"
)


def parse_objects(text: str) -> Counter[tuple[str, str, str]]:
    """Read the (size, colour, shape) triples that a caption states, with how often.

    A size or colour that is not said is the empty string. `two small red circles` counts twice;
    a plural without a number counts once, as it names no number.
    """
    found: Counter[tuple[str, str, str]] = Counter()
    for match in _OBJECT.finditer(text.casefold()):
        words = [match[part] or "" for part in ("size", "colour", "shape")]
        size, colour, shape = (SYNONYMS.get(word, word) for word in words)
        count = _NUMBERS.index(match["count"]) if match["count"] and match["plural"] else 1
        if count:
            found[size, colour, shape] += count
    return found


def object_f1(answer: str, expected: Sequence[str]) -> float:
    """Return the F1 of the answer's objects against the best matching expected caption's.

    An object counts if size, colour and shape all agree. If neither names an object the
    score is 1.0.
    """
    given = parse_objects(answer)
    return max(_f1(given, parse_objects(text)) for text in expected)


def _f1(given: Counter[tuple[str, str, str]], wanted: Counter[tuple[str, str, str]]) -> float:
    total = given.total() + wanted.total()
    return 2 * (given & wanted).total() / total if total else 1.0


def intersection_over_union(a: Box, b: Box) -> float:
    """Return the overlap of two boxes as a share of the area that they cover together."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    shared = max(width, 0) * max(height, 0)
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - shared
    return shared / union


def iou(answer: str, expected: Sequence[str]) -> float:
    """Return the overlap (IoU) of the answer's one box with the best matching expected box.

    An answer with no box, a malformed one or several scores 0: listing guesses earns nothing.
    Raises `ValueError` when an expected box is malformed.
    """
    wanted = [box for text in expected for box in parse_boxes(text)]
    if not wanted:
        raise ValueError(f"a box is expected, not {list(expected)}")
    try:
        boxes = parse_boxes(answer)
    except ValueError:
        return 0.0
    if len(boxes) != 1:
        return 0.0
    return max(intersection_over_union(boxes[0], box) for box in wanted)


def iou50(answer: str, expected: Sequence[str]) -> float:
    """Return 1.0 when the answer's one box overlaps an expected box with IoU of at least 0.5."""
    return float(iou(answer, expected) >= IOU_THRESHOLD)


METRICS: Mapping[str, Callable[[str, Sequence[str]], float]] = {
    "anls": anls,
    "chrf": chrf,
    "contains": contains,
    "edit": edit_similarity,
    "exact": exact,
    "iou": iou,
    "iou50": iou50,
    "object_f1": object_f1,
    "yes_no": yes_no,
}
