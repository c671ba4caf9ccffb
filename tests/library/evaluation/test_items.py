"""What is wrong with a benchmark's question is found before it is stored."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vila2.data.answers import TEXT_METRICS
from vila2.data.benchmark_items import ITEM_METRICS, item_problem
from vila2.evaluation.metrics.scorers import METRICS
from vila2.evaluation.scoring import score_answers

GOOD = {"id": "q", "benchmark": "b", "kind": "k", "question": "?", "metric": "exact",
        "answers": ["red"]}  # fmt: skip
OPTIONS = {"metric": "choice", "options": ["a", "b"], "answers": ["a"]}


def test_a_good_question_has_no_problem():
    """With and without options; fields of the team's own do not matter."""
    assert item_problem(GOOD) == ""
    assert item_problem({**GOOD, **OPTIONS, "level": 3}) == ""


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"id": 3}, "field id must be a text"),
        ({"kind": " "}, "field kind must be a text that is not empty"),
        ({"question": "x" * 9000}, "field question has 9,000 characters, at most 8,000; shorten"),
        ({"answers": "red"}, "field answers must be a list of texts"),
        ({"answers": ["red", ""]}, "field answers must be a text that is not empty"),
        ({"answers": ["a"] * 300}, "at most 256; leave some out"),
        ({"metric": "exakt"}, "there is no 'exakt'; use one of anls, choice, chrf"),
        ({"metric": "yes_no"}, "expects .*yes.* or .*no"),
        ({"metric": "yes_no", "answers": ["yes", "no"]}, "expects"),
        ({"metric": "iou"}, "each must hold a box"),
        ({"metric": "iou50", "answers": ["[1,2]"]}, "is not .xmin"),
        ({"options": ["a", "b"]}, "has none; leave it out, or use 'choice'"),
        ({**OPTIONS, "options": ["a"]}, "at least two texts, no two the same"),
        ({**OPTIONS, "options": ["a", "A."]}, "no two the same"),
        ({**OPTIONS, "answers": ["c"]}, "exactly one of the options"),
        ({**OPTIONS, "options": "ab"}, "field options must be a list"),
        ({"group": 3}, "field group must be a text"),
    ],
)
def test_a_mistake_names_its_field_and_the_fix(changes: dict, told: str):
    """One sentence that somebody can act on."""
    found = item_problem({**GOOD, **changes})
    assert re.search(told, found), found


_VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.lists(
    st.text(max_size=5) | st.integers(), max_size=3
)  # fmt: skip


@given(st.fixed_dictionaries(dict.fromkeys(GOOD, _VALUES), optional={"options": _VALUES}))
def test_no_question_breaks_the_check(item: dict):
    """A stranger wrote it."""
    assert isinstance(item_problem(item), str)


@settings(deadline=None)  # the first call of some metrics imports their library
@given(
    metric=st.sampled_from([m for m in ITEM_METRICS if m not in ("cider", "likelihood", "chrf")]),
    answers=st.lists(st.sampled_from(["yes", "no", "a", "[1,2,3,4]", "b c"]), min_size=1),
    options=st.none() | st.just(["a", "b c"]),
    reply=st.text(max_size=20),
)
def test_what_passes_can_be_scored_whatever_the_model_replies(metric, answers, options, reply):
    """The check and the scorers agree on what a benchmark may hold."""
    item = {**GOOD, "metric": metric, "answers": answers, "options": options}
    if not item_problem(item):
        (outcome,) = score_answers([("p", item)], [reply])
        assert 0 <= outcome.score <= 1


def test_every_metric_that_an_item_may_name_is_scored() -> None:
    """What is accepted when a benchmark is stored is what evaluation knows."""
    assert {*METRICS, "cider"} == set(TEXT_METRICS)
