"""A wrong reference is refused where it comes in, with its field."""

from __future__ import annotations

import pytest

from vila2.client import ApiError, Client

WRONG = ["photos@b", "photos@²", "photos@-1", "photos@" + "9" * 5000]


@pytest.mark.parametrize("ref", WRONG)
def test_a_take_down_of_no_version_is_refused(client: Client, ref: str) -> None:
    asked = {"dataset": ref, "key": "p1", "reason": "because", "requested_by": "legal"}
    with pytest.raises(ApiError) as refused:
        client.datasets.send("POST", "takedowns", json=asked)
    problem = refused.value.problem
    assert (problem.status, problem.field) == (422, "dataset")


@pytest.mark.parametrize("ref", WRONG)
def test_a_job_on_no_version_is_refused(client: Client, ref: str) -> None:
    asked = {"name": "e", "token": "t", "evaluate": {"model": "m", "benchmarks": [ref]}}
    with pytest.raises(ApiError) as refused:
        client.training.send("POST", "jobs", json=asked)
    problem = refused.value.problem
    assert (problem.status, problem.field) == (422, "evaluate.benchmarks.0")
