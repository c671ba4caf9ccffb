"""A round's seeds: what its row says of them, where they are together, and which of them failed."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.rounds.seeds import (
    evaluation_columns,
    evaluations_of,
    failure,
    first,
    jobs_of,
    mark,
    model_columns,
    models_of,
    together,
)
from services.controller.tables import RoundRow
from vila2.schemas.rest.training import JobState, SeedJob

names = st.text("abcdef", min_size=1, max_size=8)
STATES: list[JobState] = [
    "queued", "starting", "running", "succeeded", "stopped", "failed", "cancelled",
]  # fmt: skip


def row(**columns: Any) -> RoundRow:
    empty = {"train_job": "", "model": "", "evaluate_job": "", "seed_models": {},
             "seed_evaluations": {}}  # fmt: skip
    return RoundRow(**{**empty, **columns})


def by_seed(first_seed: int, values: list[str]) -> dict[int, str]:
    return {first_seed + number: value for number, value in enumerate(values)}


@given(seed=st.integers(-5, 200), values=st.lists(names, min_size=1, max_size=12))
def test_a_row_tells_the_models_and_evaluations_that_it_was_given(
    seed: int, values: list[str]
) -> None:
    """In the order of the seeds, whatever order a database gives its keys."""
    held = by_seed(seed, values)
    made = row(**model_columns(held), **evaluation_columns(held))
    assert made.model == values[0]
    shuffled = dict(sorted(made.seed_models.items(), reverse=True))
    for found in (models_of(row(model=made.model, seed_models=shuffled), seed),
                  evaluations_of(made, seed)):  # fmt: skip
        assert list(found.items()) == list(held.items())
        assert first(found) == values[0]


def test_a_round_of_one_seed_keeps_no_list_and_no_mark() -> None:
    """As rounds were before there were several."""
    assert model_columns({7: "m"}) == {"model": "m", "seed_models": {}}
    assert evaluation_columns({7: "j"}) == {"evaluate_job": "j", "seed_evaluations": {}}
    assert mark(7, [7]) == ""
    assert [mark(seed, [7, 8]) for seed in (7, 8)] == ["-s7", "-s8"]


def test_every_job_of_a_round_is_told_once() -> None:
    held = {"train_job": "t", **evaluation_columns({0: "a", 1: "b"})}
    assert jobs_of(row(**held)) == ["t", "a", "b"]
    assert jobs_of(row(train_job="t", evaluate_job="e")) == ["t", "e"]
    assert jobs_of(row()) == []


@given(states=st.lists(st.sampled_from(STATES), min_size=1, max_size=6))
def test_several_jobs_have_ended_when_all_have(states: list[JobState]) -> None:
    ended = {"succeeded", "stopped", "failed", "cancelled"}
    found = together(states)
    assert found in states
    assert (found in ended) == (set(states) <= ended)
    assert (found == "succeeded") == (set(states) == {"succeeded"})


def jobs(*states: JobState) -> list[SeedJob]:
    return [
        SeedJob(seed=seed, job=f"job-{seed}", state=state, error="it broke" * (state == "failed"))
        for seed, state in enumerate(states)
    ]


@pytest.mark.parametrize(
    ("states", "said"),
    [
        (["succeeded"], ""),
        (["succeeded", "succeeded"], ""),
        (["failed"], "train job job-0 failed: it broke"),
        (
            ["succeeded", "failed", "stopped"],
            "train ended without success with 2 of 3 seeds: "
            "seed 1, job job-1 failed: it broke; seed 2, job job-2 stopped: ",
        ),
    ],
)
def test_a_failure_names_every_seed_that_did_not_succeed(states: list[JobState], said: str) -> None:
    assert failure("train", jobs(*states)) == said
