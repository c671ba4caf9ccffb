"""Starting a run: the recipe is checked and its datasets are pinned before anything is done."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.support.runs.stepped_platform import recipe as small_recipe
from tests.support.runs.stepped_platform import workspace
from vila2.client import ApiError, Client
from vila2.recipes.recipe import load_recipe
from vila2.schemas.rest.controller import RunIn


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with EmbeddedPlatform(tmp_path) as platform:
        yield platform.client


def test_a_recipe_with_an_unknown_key_is_refused_by_name(client: Client) -> None:
    recipe = {**load_recipe("tiny").model_dump(mode="json"), "roundz": 3}
    with pytest.raises(ApiError, match="roundz: unknown key") as refused:
        client.controller.start_run(RunIn(recipe=recipe))
    assert refused.value.problem.status == 422
    assert refused.value.problem.field == "recipe.roundz"


def test_a_recipe_names_a_preset_and_no_file(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file is the operator's to name; nothing of one that a recipe points at is told."""
    secret = tmp_path / "secret.yaml"
    secret.write_text("password: hunter2")
    recipe = load_recipe("tiny").model_dump(mode="json")
    for preset in (str(secret), "../secret.yaml", "nobody-has-it"):
        recipe["model"]["preset"] = preset
        with pytest.raises(ApiError, match="preset") as refused:
            client.controller.start_run(RunIn(recipe=recipe))
        assert refused.value.problem.field == "recipe.model.preset"
        assert "hunter2" not in str(refused.value)
    (tmp_path / "nobody-has-it.yaml").write_text(
        (resources.files("vila2.model") / "presets" / "tiny.yaml").read_text()
    )
    monkeypatch.setenv("VILA2_PRESETS", str(tmp_path))
    with pytest.raises(ApiError, match="scenes-base"):  # what is missing next
        client.controller.start_run(RunIn(recipe=recipe))


def test_a_missing_dataset_is_named_before_anything_is_started(client: Client) -> None:
    recipe = load_recipe("tiny").model_dump(mode="json")
    with pytest.raises(ApiError, match="scenes-base") as refused:
        client.controller.start_run(RunIn(recipe=recipe))
    assert "datasets submit" in str(refused.value)
    assert client.controller.runs() == []


def test_a_run_that_does_not_exist_is_a_clear_error(client: Client) -> None:
    with pytest.raises(ApiError, match="no run 'nothing'"):
        client.controller.run("nothing")


def test_a_dataset_of_another_kind_is_refused_before_anything_is_started(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Training would fail on it, after hours of other work."""
    made = workspace(tmp_path_factory.mktemp("kinds"))
    with EmbeddedPlatform(made) as platform:
        for wrong, field in (
            ({"benchmarks": ["scenes-sft"]}, "recipe.benchmarks.0"),
            ({"data": {"pretrain": "scenes-corpus", "sft": "scenes-corpus"}}, "recipe.data.sft"),
        ):
            content = {**small_recipe().model_dump(mode="json"), **wrong}
            with pytest.raises(ApiError, match="Name another dataset") as told:
                platform.client.controller.start_run(RunIn(recipe=content))
            assert told.value.problem.field == field
        control = {"name": "other", "says": "others", "captions": "layer", "layer": "layer-none"}
        content = {**small_recipe().model_dump(mode="json"), "controls": [control]}
        with pytest.raises(ApiError, match="vila2 captions list") as told:
            platform.client.controller.start_run(RunIn(recipe=content))
        assert told.value.problem.field == "recipe.controls.0.layer"
        assert platform.client.controller.runs() == []


def test_a_batch_that_cannot_be_divided_is_refused_before_anything_is_started(
    client: Client,
) -> None:
    recipe = load_recipe("tiny").model_dump(mode="json")
    recipe["training"]["processes"] = 7
    with pytest.raises(ApiError, match="cannot be divided among the 7 processes"):
        client.controller.start_run(RunIn(recipe=recipe))
