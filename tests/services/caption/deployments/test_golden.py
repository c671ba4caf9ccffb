"""The golden gate: what passes, and what nothing may pass with."""

from __future__ import annotations

import math

import pytest

from services.caption.serving.golden_gate import judge
from vila2.engine.golden_set import GoldenItem
from vila2.engine.requests import Generation

NOT_FINITE = [math.nan, math.inf, -math.inf]


def items(count: int = 4, *, logprob: float = -1.0) -> list[GoldenItem]:
    return [GoldenItem("", "What is this?", "a fox", logprob) for _ in range(count)]


def answers(*texts: str, logprob: float = -1.01) -> list[Generation]:
    return [Generation(text, 3, logprob, "stop") for text in texts]


def test_the_trainers_answers_pass() -> None:
    result = judge(items(), answers(*["a fox"] * 4))
    assert (result.reason, result.items, result.same) == ("", 4, 4)
    assert result.drift == pytest.approx(0.01)


def test_one_near_tie_in_four_may_flip() -> None:
    assert judge(items(), answers("a fox", "a fox", "a fox", "a wolf")).reason == ""


def test_other_answers_fail_and_both_are_told() -> None:
    reason = judge(items(), answers("a fox", "a fox", "a box", "a box")).reason
    assert "2 of 4 golden answers match" in reason
    assert "'a box', the trainer 'a fox'" in reason


def test_log_probabilities_that_drifted_fail() -> None:
    reason = judge(items(), answers(*["a fox"] * 4, logprob=-1.1)).reason
    assert "0.100 nats per token" in reason


@pytest.mark.parametrize("logprob", NOT_FINITE)
def test_an_answer_whose_log_probability_is_not_finite_fails(logprob: float) -> None:
    """NaN is not greater than the bound, and must not pass for that."""
    one = [*answers(*["a fox"] * 3), *answers("a fox", logprob=logprob)]
    result = judge(items(), one)
    assert "not a finite number" in result.reason
    assert result.drift is None


@pytest.mark.parametrize("logprob", NOT_FINITE)
def test_a_golden_item_whose_log_probability_is_not_finite_fails(logprob: float) -> None:
    """Even if the engine gives the very same: infinity less infinity is no number."""
    result = judge(items(logprob=logprob), answers(*["a fox"] * 4, logprob=logprob))
    assert "not a finite number" in result.reason


def test_an_empty_golden_set_fails() -> None:
    assert "golden set is empty" in judge([], []).reason


@pytest.mark.parametrize("count", [0, 3, 5])
def test_another_number_of_answers_fails(count: int) -> None:
    reason = judge(items(4), answers(*["a fox"] * count)).reason
    assert reason == f"the engine gave {count} answers to 4 golden questions"
