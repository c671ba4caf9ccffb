"""What a job of a recipe would refuse is found when the recipe is checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from vila2.cli.main import app
from vila2.recipes.feasibility import missing_extras, refusals
from vila2.recipes.recipe import Recipe, load_recipe, recipe_text, shipped_recipes


def changed(**changes: Any) -> Recipe:
    """The tiny recipe with other values; `stages` and `recaption` change only what they name."""
    content: dict[str, Any] = yaml.safe_load(recipe_text("tiny"))
    for name in ("stages", "recaption", "captioning", "training", "model"):
        for key, value in changes.pop(name, {}).items():
            nested = isinstance(value, dict) and isinstance(content[name].get(key), dict)
            content[name][key] = {**content[name][key], **value} if nested else value
    return Recipe.model_validate({**content, **changes})


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_can_be_run(name: str) -> None:
    assert refusals(load_recipe(name)) == []


@pytest.mark.parametrize(
    ("changes", "field", "fix"),
    [
        ({"model": {"preset": "nobody-has-it"}}, "model.preset", "use one of photos, tiny"),
        ({"model": {"preset": "mine.yaml"}}, "model.preset", "VILA2_PRESETS"),
        ({"training": {"processes": 5}, "stages": {"sft": {"batch_size": 12}}},
         "stages.sft.batch_size", "use 10 or 15"),
        ({"stages": {"pretrain": {"pack": 20}}}, "stages.pretrain.pack", "use at least 160"),
        ({"captioning": {"keep_fraction": 0.5}, "recaption": {"missing": "error"}},
         "recaption.missing", "set it to original"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_field_with_which_jobs_would_fail_is_named_with_its_fix(
    changes: dict[str, Any], field: str, fix: str
) -> None:
    found = {refusal.field: refusal.reason for refusal in refusals(changed(**changes))}
    assert fix in found[field]


def test_no_message_offers_a_path_that_is_then_refused() -> None:
    for preset in ("nobody-has-it", "presets/mine.yaml"):
        (refusal,) = refusals(changed(model={"preset": preset}))
        assert "path" not in refusal.reason


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vila2.recipes.feasibility.find_spec", lambda name: None)
    recipe = changed(captioning={"gate": {"language": "de"}}, training={"tensorboard": True})
    assert missing_extras(recipe) == ["language", "tensorboard"]
    assert missing_extras(changed()) == []


def test_the_command_names_the_line(tmp_path: Path) -> None:
    from typer.testing import CliRunner

    path = tmp_path / "mine.yaml"
    path.write_text(recipe_text("tiny").replace("preset: tiny", "preset: tinny"))
    told = CliRunner().invoke(app, ["recipes", "check", str(path)])
    line = path.read_text()[: path.read_text().index("preset: tinny")].count("\n") + 1
    assert f"line {line}, model.preset: no preset is named 'tinny'" in str(told.exception)
