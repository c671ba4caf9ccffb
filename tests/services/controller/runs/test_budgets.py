"""A run that is over its budget ends, with the field that ended it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.runs.run_budgets import Spent, over_budget
from tests.support.runs.stepped_platform import SIZES, SteppedPlatform, recipe, start
from vila2.recipes.recipe import BudgetRecipe


def test_a_recipe_without_a_budget_never_ends_by_it() -> None:
    assert over_budget(BudgetRecipe(), Spent(1e9, 1e9, 10**12)) == ""


@pytest.mark.parametrize("field", ["gpu_hours", "process_hours", "images"])
def test_what_is_over_is_named_with_its_limit(field: str) -> None:
    told = over_budget(BudgetRecipe.model_validate({field: 10}), Spent(11, 11, 11))
    assert f"budget.{field}" in told
    assert "11" in told
    assert "10" in told


@given(limit=st.integers(1, 10**9), used=st.integers(0, 10**9))
def test_a_budget_is_the_most_that_may_be_used(limit: int, used: int) -> None:
    """Using all of it is no reason to end."""
    told = over_budget(BudgetRecipe(images=limit), Spent(images=used))
    assert bool(told) == (used > limit)


def test_a_run_over_its_budget_is_cancelled_with_an_event_that_says_why(
    stepped: SteppedPlatform,
) -> None:
    """Round 1 captions more images than the budget has, so it ends before it is trained."""
    budget = {"images": SIZES.corpus - 1}
    run = stepped.finish(start(stepped, recipe(budget=budget)))
    last = stepped.client.controller.events(run.id)[-1]
    assert run.state == "cancelled"
    assert "12 images of at most 11 (recipe, budget.images)" in run.error
    assert (last.kind, last.message) == ("run.cancelled", run.error)
    assert {held.name: held.state for held in run.rounds}["round 1"] == "cancelled"


def test_a_run_within_its_budget_goes_to_its_end(stepped: SteppedPlatform) -> None:
    """Of one round and one specialist: the corpus twice, and an hour of everything."""
    budget = {"images": 2 * SIZES.corpus, "process_hours": 1.0}
    rounds = {"maximum": 1, "patience": 1}
    run = stepped.finish(start(stepped, recipe(budget=budget, rounds=rounds)))
    assert run.state == "finished", run.error


def test_a_budget_of_hours_is_held_against_the_accounts_of_jobs(stepped: SteppedPlatform) -> None:
    run = stepped.finish(start(stepped, recipe(budget={"process_hours": 1e-9})))
    assert run.state == "cancelled"
    assert "budget.process_hours" in run.error
