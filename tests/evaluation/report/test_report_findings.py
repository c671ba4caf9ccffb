"""The sentences of a report: they claim no more than the figures carry."""

from __future__ import annotations

from typing import Any

import pytest
from invented_run import figures

from vila2.evaluation.report.findings import and_list, findings
from vila2.evaluation.report.model import RunReport


def _said(**changes: Any) -> str:
    return " ".join(findings(RunReport.model_validate({**figures(), **changes})))


def _rounds(*kinds: str, scores: dict[str, float] | None = None) -> list[dict[str, Any]]:
    """Keep the invented rounds of some kinds, with other macro scores if given."""
    rounds = [r for r in figures()["rounds"] if r["kind"] in kinds]
    for round_ in rounds:
        if scores:
            score = scores[round_["kind"]]
            round_["macro"] = {"score": score, "low": score - 0.02, "high": score + 0.02}
    return rounds


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


def test_controls_are_never_counted_as_rounds():
    """A control's verdict is in the table; the sentences are about the method."""
    assert "shuffled captions" not in _said()


@pytest.mark.parametrize(
    ("control", "words"),
    [
        (0.40, "The ranges are apart"),
        (0.58, "do not show that new captions"),
        (0.80, "The control did better than the method"),
    ],
)
def test_the_best_control_is_held_against_the_best_round(control: float, words: str):
    """Only ranges that are apart let the gain stand."""
    rounds = _rounds("baseline", "self", "control", scores={
        "baseline": 0.5, "self": 0.6, "control": control,
    })  # fmt: skip
    assert words in _said(rounds=rounds)


def test_a_run_without_controls_admits_what_it_cannot_tell():
    """More training alone could explain the gain."""
    assert "trained no control" in _said(rounds=_rounds("baseline", "self"))


def test_quarantined_captions_are_counted():
    """158 of two layers of 4,000."""
    assert "158 of 8,000 generated captions (2.0%)" in _said()


def test_names_are_joined_as_prose():
    """None, one, two and three."""
    assert [and_list("abc"[:n]) for n in range(4)] == ["", "a", "a and b", "a, b and c"]
