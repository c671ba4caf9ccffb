"""The summary names a model only if its verdict does, and never more than the figures carry."""

from __future__ import annotations

from typing import Any

from tests.support.example_report import figures
from vila2.evaluation.report.model import RunReport
from vila2.evaluation.report.summary import Summary, summary


def _of(**changes: Any) -> Summary:
    return summary(RunReport.model_validate({**figures(), **changes}))


def _rounds(*kinds: str) -> list[dict[str, Any]]:
    return [r for r in figures()["rounds"] if r["kind"] in kinds]


def test_the_last_improved_round_wins_with_its_gain_since_round_0() -> None:
    found = _of(rounds=_rounds("baseline", "self", "control"))
    assert found.headline == "Use the model of “round 1”."
    assert found.gain == "+9.0 points of the macro score over round 0 (interval +6.9 to +11.1)."
    assert "Trained with 3 seeds" in found.trust[0]
    assert [found.model in command.text for command in found.commands] == [True] * 3


def test_without_an_improvement_the_first_model_is_kept() -> None:
    """And a command tries another recipe from there."""
    rounds = _rounds("baseline", "self")
    rounds[1]["verdict"]["kind"] = "no_measurable_change"
    found = _of(rounds=rounds)
    assert "No round is measurably better than “baseline”" in found.headline
    assert found.gain.startswith("The last round, “round 2”, is +10.0 points")
    assert found.commands[0].text.startswith("vila2 runs branch run-7f3a --round baseline")


def test_a_control_that_does_as_well_is_named() -> None:
    rounds = _rounds("baseline", "self", "control")
    rounds[-1]["best_above"] |= {"difference": 0.01, "low": -0.01, "high": 0.03}
    assert any(
        "“shuffled captions”, which may explain" in line for line in _of(rounds=rounds).trust
    )


def test_a_run_without_controls_says_what_it_cannot_tell() -> None:
    found = _of(rounds=_rounds("baseline", "self"))
    assert any("more training alone might explain" in line for line in found.trust)


def test_money_is_named_if_a_price_is_known() -> None:
    assert "at the price of" not in _of().cost
    costs = {**figures()["costs"], "money": 1.5}
    assert "1.50 at the price of estimate-1" in _of(costs=costs).cost


def test_a_run_without_a_verdict_is_continued() -> None:
    assert _of(rounds=[]).commands[0].text == "vila2 runs resume run-7f3a"
