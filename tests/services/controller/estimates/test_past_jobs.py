"""What is learnt from earlier jobs, some of which ran elsewhere or are gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from services.controller.estimates.measured import PastJobs
from vila2.client import ApiError
from vila2.schemas.rest.problem import Problem
from vila2.schemas.rest.training import TrainIn

CONFIG = TrainIn(init="new", preset="tiny").model_dump()


class Training:
    """A training service with one model, whose evaluations name these jobs."""

    def __init__(self, *evaluations: tuple[str, str], fails: int = 404) -> None:
        self._evaluations, self._fails = evaluations, fails

    def jobs(self, **_: Any) -> list[Any]:
        return [self.job("train-1")]

    def job(self, name: str) -> Any:
        if name == "gone":
            raise ApiError(Problem(type="x", title="x", status=self._fails, detail="no job"))
        result = {"questions": 10, "stages": {}}
        return SimpleNamespace(seeds=[], model="m", seconds=20.0, result=result)

    def model_details(self, _: str) -> Any:
        found = [SimpleNamespace(job=job, source=source) for job, source in self._evaluations]
        return SimpleNamespace(config=CONFIG, evaluations=found)

    def usage(self) -> list[Any]:
        return []


def past(training: Training) -> PastJobs:
    return PastJobs(SimpleNamespace(training=training))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "evaluations",
    [
        [("eval-1", ""), ("lmms-eval 0.7.3", "imported")],
        [("eval-1", ""), ("gone", "")],
        [("eval-1", ""), ("eval-1", "")],
    ],
    ids=["imported", "gone", "two scores of a job"],
)
def test_scores_without_a_job_here_are_skipped(evaluations: list[tuple[str, str]]) -> None:
    """One import of scores made every later estimate of the team fail."""
    history = past(Training(*evaluations)).of_preset("tiny")
    assert list(history.evaluations) == [2.0]


def test_a_service_that_fails_is_not_taken_for_a_job_that_is_gone() -> None:
    with pytest.raises(ApiError):
        past(Training(("gone", ""), fails=503)).of_preset("tiny")
