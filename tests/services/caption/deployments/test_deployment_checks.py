"""What a model must show before it is loaded for an endpoint."""

from __future__ import annotations

import math
from typing import Any

import pytest
from pydantic import ValidationError

from services.caption.serving.deployment_checks import deciding, unmet, wrong_weights
from vila2.schemas.rest.caption import Requirement
from vila2.schemas.rest.training import Evaluation, Figure


def evaluation(**fields: Any) -> Evaluation:
    return Evaluation.model_validate(
        {
            "model": "m", "benchmark": "scenes", "version": "scenes-test@1", "value": 0.5,
            "low": 0.4, "high": 0.6, "items": 40, "job": "job-2", "at": 1.0, **fields,
        }
    )  # fmt: skip


def required(minimum: float, **fields: Any) -> Requirement:
    return Requirement(**{"benchmark": "scenes", "minimum": minimum, **fields})


def test_weights_are_right_if_their_digest_is_the_registered_one() -> None:
    assert wrong_weights(registered="a" * 64, stored="a" * 64) == ""
    assert "not those that were registered" in wrong_weights(registered="a" * 64, stored="b" * 64)
    assert "missing" in wrong_weights(registered="a" * 64, stored="")


def test_the_newest_score_must_reach_the_minimum() -> None:
    scores = [evaluation(value=0.3, low=0.2, at=2.0), evaluation(value=0.9, low=0.8, at=1.0)]
    (reason,) = unmet([required(0.31)], scores)
    assert reason == "scenes: score 0.3000 is below 0.31 (job job-2, scenes-test@1)"
    assert unmet([required(0.3)], scores) == []


def test_the_low_end_of_the_interval_can_be_required() -> None:
    (reason,) = unmet([required(0.45, bound="low")], [evaluation()])
    assert "low end of the interval 0.4000 is below 0.45" in reason


def test_a_score_without_an_interval_has_no_low_end() -> None:
    (reason,) = unmet([required(0.1, bound="low")], [evaluation(low=None, high=None)])
    assert reason == "scenes: its score has no interval"


def test_a_score_that_is_no_number_reaches_no_minimum() -> None:
    assert len(unmet([required(-1e9)], [evaluation(value=math.nan)])) == 1


def test_every_requirement_that_is_not_met_is_told() -> None:
    wanted = [required(0.9), required(0.0, benchmark="ocr"), required(0.1)]
    assert [reason.partition(":")[0] for reason in unmet(wanted, [evaluation()])] == [
        "scenes", "ocr",
    ]  # fmt: skip
    assert unmet(wanted, [evaluation()])[1] == "ocr: not evaluated"


def test_the_evidence_is_the_newest_score_of_each_required_benchmark() -> None:
    figures = [Figure(name="f1", n=40, value=0.5)]
    scores = [
        evaluation(job="job-3", at=3.0, figures=figures), evaluation(), evaluation(benchmark="ocr"),
    ]  # fmt: skip
    (held,) = deciding([required(0.1), required(0.2, bound="low")], scores)
    assert (held.job, held.figures) == ("job-3", [])


@pytest.mark.parametrize("minimum", [math.nan, math.inf])
def test_a_minimum_is_a_finite_number(minimum: float) -> None:
    with pytest.raises(ValidationError, match="finite"):
        required(minimum)
