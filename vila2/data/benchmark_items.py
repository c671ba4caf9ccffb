"""Validation of benchmark questions before they are stored. Pure.

A mistake in a benchmark is reported to its author at upload, instead of failing an evaluation later
or, worse, showing up as a low score.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vila2.data.answers import (
    CHOICE_METRICS,
    MOST_OPTIONS,
    TEXT_METRICS,
    normalise,
    parse_boxes,
    stance,
)

ITEM_TEXTS = ("id", "benchmark", "kind", "question", "metric")
ITEM_METRICS = tuple(sorted((*TEXT_METRICS, *CHOICE_METRICS)))
LONGEST_TEXT = 8_000
MOST_ANSWERS = 256


def item_problem(item: Mapping[str, Any]) -> str:
    """Return what is wrong with a question, naming the field and the fix; empty if valid."""
    for field in ITEM_TEXTS:
        if problem := _text_problem(field, item.get(field)):
            return problem
    answers = item.get("answers")
    if problem := _list_problem("answers", answers, most=MOST_ANSWERS):
        return problem
    assert isinstance(answers, list)
    metric = item["metric"]
    if metric not in ITEM_METRICS:
        return f"field metric: there is no {metric!r}; use one of {', '.join(ITEM_METRICS)}"
    if item.get("group") is not None and not isinstance(item["group"], str):
        return "field group must be a text, the same for questions that belong together"
    if metric in CHOICE_METRICS:
        return _choice_problem(item, answers)
    if item.get("options") is not None:
        return f"field options: metric {metric!r} has none; leave it out, or use 'choice'"
    if metric == "yes_no" and {stance(answer) for answer in answers} not in ({"yes"}, {"no"}):
        return 'field answers: metric \'yes_no\' expects ["yes"] or ["no"]'
    if metric in ("iou", "iou50"):
        return _box_problem(answers)
    return ""


def _text_problem(field: str, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        return f"field {field} must be a text that is not empty"
    if len(value) > LONGEST_TEXT:
        return f"field {field} has {len(value):,} characters, at most {LONGEST_TEXT:,}; shorten it"
    return ""


def _list_problem(field: str, value: object, *, most: int) -> str:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value) or not value:
        return f"field {field} must be a list of texts, at least one"
    if len(value) > most:
        return f"field {field} has {len(value)} texts, at most {most}; leave some out"
    return next((p for text in value if (p := _text_problem(field, text))), "")


def _choice_problem(item: Mapping[str, Any], answers: list[str]) -> str:
    options = item.get("options")
    if problem := _list_problem("options", options, most=MOST_OPTIONS):
        return problem
    assert isinstance(options, list)
    if len(options) < 2 or len({normalise(option) or option for option in options}) < len(options):
        return "field options must hold at least two texts, no two the same"
    if len(answers) != 1 or answers[0] not in options:
        return "field answers must hold exactly one of the options, spelt as there"
    return ""


def _box_problem(answers: list[str]) -> str:
    try:
        boxes = [parse_boxes(answer) for answer in answers]
    except ValueError as error:
        return f"field answers: {error}"
    if not all(boxes):
        return "field answers: each must hold a box [xmin,ymin,xmax,ymax], whole numbers 0 to 999"
    return ""
