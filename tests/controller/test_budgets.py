"""A run that is over its budget ends, with the field that ended it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.controller.budgets import Spent, over_budget
from services.standalone.app import Standalone
from tests.controller.small import small_recipe, small_world
from vila2.api.controller import RunIn
from vila2.recipe import BudgetRecipe, Recipe


def test_a_recipe_without_a_budget_never_ends_by_it() -> None:
    assert over_budget(BudgetRecipe(), Spent(1e9, 1e9, 10**12)) == ""


@pytest.mark.parametrize("field", ["gpu_hours", "process_hours", "pictures"])
def test_what_is_over_is_named_with_its_limit(field: str) -> None:
    told = over_budget(BudgetRecipe.model_validate({field: 10}), Spent(11, 11, 11))
    assert f"budget.{field}" in told
    assert "11" in told
    assert "10" in told


@given(limit=st.integers(1, 10**9), used=st.integers(0, 10**9))
def test_a_budget_is_the_most_that_may_be_used(limit: int, used: int) -> None:
    """Using all of it is no reason to end."""
    told = over_budget(BudgetRecipe(pictures=limit), Spent(pictures=used))
    assert bool(told) == (used > limit)


@pytest.mark.slow
def test_a_run_over_its_budget_is_cancelled_with_an_event_that_says_why(tmp_path: Path) -> None:
    with Standalone(tmp_path / "workspace") as platform:
        small_world(platform, tmp_path)
        recipe = Recipe.model_validate(
            {**small_recipe().model_dump(), "budget": {"process_hours": 1e-7}}
        )
        body = RunIn(recipe=recipe.model_dump(mode="json"))
        run = platform.client.controller.start_run(body)
        end = time.monotonic() + 60
        while run.state == "running" and time.monotonic() < end:
            time.sleep(0.2)
            run = platform.client.controller.run(run.id)
        last = platform.client.controller.events(run.id)[-1]
        job = platform.client.training.job(run.rounds[0].jobs[0])
    assert run.state == "cancelled"
    assert "recipe, budget.process_hours" in run.error
    assert (last.kind, last.message) == ("run.cancelled", run.error)
    assert job.state in ("cancelled", "succeeded")
