"""Starting a run: the recipe is checked and its datasets are pinned before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from services.standalone.app import Standalone
from vila2.api.controller import RunIn
from vila2.client import ApiError, Client
from vila2.recipe import load_recipe


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Standalone(tmp_path) as platform:
        yield platform.client


def test_a_recipe_with_an_unknown_key_is_refused_by_name(client: Client) -> None:
    recipe = {**load_recipe("tiny").model_dump(mode="json"), "roundz": 3}
    with pytest.raises(ApiError, match="roundz: unknown key") as refused:
        client.controller.start_run(RunIn(recipe=recipe))
    assert refused.value.problem.status == 422
    assert refused.value.problem.field == "recipe.roundz"


def test_a_missing_dataset_is_named_before_anything_is_started(client: Client) -> None:
    recipe = load_recipe("tiny").model_dump(mode="json")
    with pytest.raises(ApiError, match="scenes-base") as refused:
        client.controller.start_run(RunIn(recipe=recipe))
    assert "datasets submit" in str(refused.value)
    assert client.controller.runs() == []


def test_a_run_that_does_not_exist_is_a_clear_error(client: Client) -> None:
    with pytest.raises(ApiError, match="no run 'nothing'"):
        client.controller.run("nothing")
