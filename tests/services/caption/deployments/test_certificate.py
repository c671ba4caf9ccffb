"""A certificate: what passes, and what nothing may pass with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from services.caption.engines.engine import EngineInfo
from services.caption.serving.certificate import Observed, certify
from vila2.engine.golden_set import GoldenItem
from vila2.engine.requests import Generation
from vila2.schemas.rest.caption import Certificate

NOT_FINITE = [math.nan, math.inf, -math.inf]


ENGINE = EngineInfo("embedded", "5.23")


def judge(items: Sequence[GoldenItem], answers: Sequence[Generation]) -> Certificate:
    return certify(items, Observed(answers, no_scores="it has none"), ENGINE)


def found(certificate: Certificate, name: str) -> float | None:
    (value,) = (check.value for check in certificate.checks if check.name == name)
    return value


def items(count: int = 4, *, logprob: float = -1.0) -> list[GoldenItem]:
    return [GoldenItem("", "What is this?", "a fox", logprob) for _ in range(count)]


def answers(*texts: str, logprob: float = -1.01) -> list[Generation]:
    return [Generation(text, 3, logprob, "stop") for text in texts]


def test_the_trainers_answers_pass() -> None:
    result = judge(items(), answers(*["a fox"] * 4))
    assert (result.reason, result.items, found(result, "greedy answers")) == ("", 4, 1.0)
    assert found(result, "log-probabilities") == pytest.approx(0.01)
    assert (result.engine, result.version) == ("embedded", "5.23")


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
    assert found(result, "log-probabilities") is None


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


def test_what_an_engine_cannot_give_is_told_and_not_passed() -> None:
    result = judge(items(), answers(*["a fox"] * 4))
    details = {check.name: (check.passed, check.detail) for check in result.checks}
    assert details["scores of the trainer's answers"] == (None, "not checked: it has none")
    assert details["tokens of the prompts"] == (None, "not checked: the golden set does not say")


def test_a_doubled_token_of_the_prompt_fails() -> None:
    """Even where the answers happen to be the same."""
    golden = [replace(item, prompt_tokens=12) for item in items()]
    given = [replace(answer, prompt_tokens=13) for answer in answers(*["a fox"] * 4)]
    assert "reads 13 tokens for 'What is this?', the trainer 12" in judge(golden, given).reason


@pytest.mark.parametrize("scores", [[0.5] * 4, [math.nan, 0.9, 0.9, 0.9]])
def test_scores_that_drifted_or_are_no_number_fail(scores: list[float]) -> None:
    golden = [replace(item, gain=0.9) for item in items()]
    seen = Observed(answers(*["a fox"] * 4), scores=scores)
    assert "score" in certify(golden, seen, ENGINE).reason
    close = Observed(answers(*["a fox"] * 4), scores=[0.91] * 4)
    assert certify(golden, close, ENGINE).reason == ""


def test_answers_that_depend_on_the_batch_fail() -> None:
    given = answers(*["a fox"] * 4)
    seen = Observed(given, alone=given[:2], crowd=answers(*["a fox", "a box"] * 4), no_scores="-")
    assert "answers in a batch: 50% are those given" in certify(items(), seen, ENGINE).reason
