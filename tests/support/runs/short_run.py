"""A world and a recipe of a few steps, for tests that run the real platform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from services.platform.embedded import EmbeddedPlatform
from tests.support.embedded_platform import submitted
from vila2.recipes.recipe import Recipe, recipe_text
from vila2.scenes.datasets import WorldSizes, write_world

SIZES = WorldSizes(corpus=96, sft=24, specialist=16, base=32, dev=4, test=12)
_FORMATS = {"corpus": "folder", "test": "benchmark"}


def small_world(platform: EmbeddedPlatform, folder: Path) -> None:
    """Submit every dataset that `small_recipe` names."""
    write_world(folder / "world", sizes=SIZES, seed=1)
    for split in ("base", "corpus", "sft", "ocr", "test"):
        submitted(
            platform.client, folder / "world" / split, name=f"scenes-{split}",
            format=_FORMATS.get(split, "llava"), shard_samples=40,
        )  # fmt: skip


def small_recipe(**changes: Any) -> Recipe:
    """`tiny` with one round, one specialist, no control, and a few steps of each stage."""
    recipe: dict[str, Any] = yaml.safe_load(recipe_text("tiny"))
    stages = [recipe["model"]["base"]["stage"], *recipe["stages"].values()]
    recipe["specialists"] = [s for s in recipe["specialists"] if s["name"] == "ocr"]
    stages += [s["stage"] for s in recipe["specialists"]]
    for stage in stages:
        stage.update(steps=6, batch_size=8)
    recipe["rounds"] = {"maximum": 1, "patience": 1}
    recipe["controls"] = []
    return Recipe.model_validate({**recipe, **changes})
