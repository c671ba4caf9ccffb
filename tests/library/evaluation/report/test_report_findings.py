"""The sentences of a report: they claim no more than the figures carry."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.example_report import figures
from vila2.evaluation.report.findings import and_list, findings
from vila2.evaluation.report.model import RunReport


def _said(**changes: Any) -> str:
    return " ".join(findings(RunReport.model_validate({**figures(), **changes})))


def _rounds(*kinds: str) -> list[dict[str, Any]]:
    """Keep the invented rounds of some kinds."""
    return [r for r in figures()["rounds"] if r["kind"] in kinds]


def test_an_improvement_is_reported_with_its_interval():
    """And a round without one is not passed over."""
    said = _said()
    assert "“round 1” improved on the best round before it by 9.0 points" in said
    assert "(interval +6.9 to +11.1)" in said
    assert "“round 2” brought no measurable change" in said


def test_a_run_without_an_improvement_says_so():
    """However high the scores are."""
    rounds = _rounds("baseline", "self")
    rounds[1]["verdict"]["kind"] = "no_measurable_change"
    said = _said(rounds=rounds)
    assert "No round improved measurably" in said
    assert "“round 1” and “round 2” brought no measurable change" in said


@pytest.mark.parametrize(
    ("above", "words"),
    [
        (0.05, "what this control has does not explain the gain"),
        (0.01, "the two cannot be told apart"),
        (-0.05, "the control did better than the method"),
    ],
)
def test_every_control_is_held_against_the_best_round(above: float, words: str):
    """By the paired difference, and with the words of the recipe."""
    rounds = _rounds("baseline", "self", "control")
    rounds[-1]["best_above"] |= {"difference": above, "low": above - 0.02, "high": above + 0.02}
    said = _said(rounds=rounds)
    assert words in said
    assert "(every image gets another's captions)" in said


def test_without_a_gain_there_is_none_to_explain():
    """A round that is above a control but no better than the baseline proves nothing."""
    rounds = _rounds("baseline", "self", "control")
    for round_ in rounds[1:3]:
        round_["verdict"]["kind"] = "no_measurable_change"
    said = _said(rounds=rounds)
    assert "there is no gain to explain" in said
    assert "does not explain the gain" not in said


def test_a_control_that_was_not_compared_is_said_to_be_so():
    """It is not passed over."""
    rounds = _rounds("baseline", "control")
    rounds[-1]["best_above"] = None
    assert "has not been compared with the best round yet" in _said(rounds=rounds)


def test_how_far_trainings_differ_by_their_seed_is_said_where_it_was_measured():
    """A reader can hold every difference against it; where nothing has two seeds, nothing is."""
    assert "differ in their seed only differ by 1.1 points" in _said()
    assert "seed only" not in _said(seed_sd=None)


def test_warnings_are_among_the_findings():
    """With the round and what was seen."""
    assert "Warning, diversity collapse: in the captions of “round 2”, different word" in _said()


def test_a_run_without_controls_admits_what_it_cannot_tell():
    """More training alone could explain the gain."""
    assert "trained no control" in _said(rounds=_rounds("baseline", "self"))


def test_quarantined_captions_are_counted():
    """158 of two layers of 4,000."""
    assert "158 of 8,000 generated captions (2.0%)" in _said()


def test_names_are_joined_as_prose():
    """None, one, two and three."""
    assert [and_list("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
