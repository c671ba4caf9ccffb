"""Scorers: what earns a point, and that no answer of a model breaks one."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vila2.data.answers import parse_boxes
from vila2.evaluation.metrics.scorers import METRICS, intersection_over_union, parse_objects, score

_WORDS = st.sampled_from([
    "a", "two", "ſix", "small", "big", "large", "red", "gray", "grey", "circle", "circles",
    "crosses", "ring", "and", ",", ".", "[", "]", "[1,2,3,4]", "yes", "no", "12", "999",
])  # fmt: skip
_ANSWERS = st.text() | st.lists(_WORDS).map(" ".join)
_EXPECTED = {"yes_no": "yes", "iou": "[10,10,20,20]", "iou50": "[10,10,20,20]"}


@pytest.mark.parametrize("metric", sorted(METRICS))
@settings(deadline=None)  # the first call of some metrics imports their library
@given(answer=_ANSWERS)
def test_no_answer_breaks_a_scorer(metric: str, answer: str):
    """Whatever a model says is scored between 0 and 1."""
    assert 0.0 <= score(metric, answer, [_EXPECTED.get(metric, "a red circle")]) <= 1.0


@given(caption=_ANSWERS)
def test_a_caption_agrees_with_itself(caption: str):
    """The F1 of a caption against itself is 1, whatever it says."""
    assert score("object_f1", caption, [caption]) == 1.0


@pytest.mark.parametrize(
    ("metric", "answer", "expected", "points"),
    [
        ("exact", " The RED, circle. ", ["the red circle"], 1.0),
        ("exact", "red", ["blue", "red"], 1.0),
        ("exact", "a red circle", ["red circle"], 0.0),
        ("exact", "...", ["!"], 0.0),
        ("contains", "It says 42, I think", ["42"], 1.0),
        ("contains", "It says 142", ["42"], 0.0),
        ("contains", "anything", [""], 0.0),
        ("yes_no", "Yes, there is.", ["yes"], 1.0),
        ("yes_no", "No", ["yes"], 0.0),
        ("yes_no", "yes and no", ["yes"], 0.0),
        ("yes_no", "nobody knows", ["no"], 0.0),
        ("iou50", "[100,100,200,200]", ["[100,100,200,200]"], 1.0),
        ("iou50", "It is at [100, 100, 200, 150].", ["[100,100,200,200]"], 1.0),
        ("iou50", "[100,100,200,149]", ["[100,100,200,200]"], 0.0),
        ("iou50", "[1,1,9,9]", ["[500,500,600,600]", "[1,1,9,9]"], 1.0),
        ("iou50", "[200,200,100,100]", ["[100,100,200,200]"], 0.0),
        ("iou50", "[1,1,9,9] [100,100,200,200]", ["[100,100,200,200]"], 0.0),
        ("iou50", "nowhere", ["[100,100,200,200]"], 0.0),
        ("iou", "[100,100,200,149]", ["[100,100,200,200]"], 0.49),
        ("iou", "[1,1,9,9] [100,100,200,200]", ["[100,100,200,200]"], 0.0),
        ("anls", "Hello  WORLD", ["hello world"], 1.0),
        ("anls", "helo world", ["hello world", "bye"], 10 / 11),
        ("anls", "abcd", ["abxy"], 0.0),  # a distance of just one half earns nothing
        ("anls", "", ["hello"], 0.0),
        ("edit", "Hello", ["hello"], 0.8),
        ("edit", "abcd", ["abxy"], 0.5),
        ("edit", "", ["hello"], 0.0),
        ("chrf", "a red circle", ["a red circle"], 1.0),
        ("chrf", "xyz", ["a red circle"], 0.0),
    ],
)
def test_an_answer_earns(metric: str, answer: str, expected: list[str], points: float):
    """Each metric by example."""
    assert score(metric, answer, expected) == pytest.approx(points)


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        ("A small red circle.", {("small", "red", "circle"): 1}),
        ("a BIG gray cross", {("large", "grey", "cross"): 1}),
        ("two small blue crosses", {("small", "blue", "cross"): 2}),
        ("large pink rings", {("large", "pink", "ring"): 1}),
        ("a red bar and a red bar", {("", "red", "bar"): 2}),
        ("a small, green star", {("small", "green", "star"): 1}),
        ("a string starts across the red barn", {}),
        ("there are zero red circles", {}),
    ],
)
def test_a_caption_states_objects(caption: str, objects: dict):
    """Plurals, synonyms and number words are understood; parts of other words are not."""
    assert parse_objects(caption) == objects


def test_object_f1_counts_what_is_missing_and_what_is_made_up():
    """One right of one said and two there: precision 1, recall 1/2."""
    truth = ["a small red circle and a large blue square"]
    assert score("object_f1", "a small red circle", truth) == pytest.approx(2 / 3)
    assert score("object_f1", "a small red circle, a red star", truth) == pytest.approx(0.5)
    assert score("object_f1", "a circle", truth) == 0.0


def test_object_f1_takes_the_best_matching_expected_caption():
    """Several captions of one image may each be right."""
    assert score("object_f1", "a red bar", ["a blue bar", "a red bar"]) == 1.0


@pytest.mark.parametrize(
    "text",
    [
        "[1,2,3]",
        "[1,2,3,4,5]",
        "[1,2,3,1000]",
        "[-1,2,3,4]",
        "[1.5,2,3,4]",
        "[3,2,1,4]",
        "[1,2,1,4]",
        "[1,2,3,4",
        "1,2,3,4]",
        "[[1,2,3,4]]",
        "[١,2,3,4]",
    ],
)
def test_a_malformed_box_is_refused(text: str):
    """Nothing is repaired or skipped."""
    with pytest.raises(ValueError, match=r"\[|bracket"):
        parse_boxes(text)


_SIDE = st.tuples(st.integers(0, 999), st.integers(0, 999)).filter(lambda s: s[0] != s[1])
_BOXES = st.builds(
    lambda x, y: (min(x), min(y), max(x), max(y)),
    _SIDE,
    _SIDE,
)


@given(st.lists(_BOXES))
def test_boxes_are_read_back_as_written(boxes: list[tuple[int, int, int, int]]):
    """Also with leading zeros, as some captioners write them."""
    text = " and ".join("at [" + ",".join(f"{n:03d}" for n in box) + "]" for box in boxes)
    assert parse_boxes(text) == tuple(boxes)


@given(_BOXES, _BOXES)
def test_overlap_is_symmetric_and_full_only_for_equal_boxes(a, b):
    """The properties that make it a score."""
    overlap = intersection_over_union(a, b)
    assert overlap == intersection_over_union(b, a)
    assert 0.0 <= overlap <= 1.0
    assert (overlap == 1.0) == (a == b)


def test_an_unknown_metric_lists_the_known_ones():
    """So that the misspelling is seen at once."""
    with pytest.raises(
        ValueError, match="anls, chrf, contains, edit, exact, iou, iou50, object_f1, yes_no"
    ):
        score("exakt", "a", ["a"])


@pytest.mark.parametrize(
    ("metric", "expected", "error"),
    [
        ("exact", [], ValueError),
        ("exact", "red", TypeError),
        ("yes_no", ["maybe"], ValueError),
        ("iou50", ["somewhere"], ValueError),
        ("iou50", ["[9,9,1,1]"], ValueError),
    ],
)
def test_a_mistake_in_a_benchmark_is_an_error(metric: str, expected, error: type[Exception]):
    """A wrong expected answer must not show up as a wrong model."""
    with pytest.raises(error):
        score(metric, "yes", expected)
