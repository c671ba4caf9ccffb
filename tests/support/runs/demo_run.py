"""The demo's world and recipe, scaled down for tests that run everything."""

from __future__ import annotations

from typing import Any

import yaml

from vila2.recipes.recipe import recipe_text
from vila2.scenes.datasets import WorldSizes

SCALE = 0.02
SIZES = WorldSizes().scaled(SCALE)


def small_recipe() -> dict[str, Any]:
    """One round, one specialist, one control, a few steps each."""
    recipe: dict[str, Any] = yaml.safe_load(recipe_text("tiny"))
    stages = [recipe["model"]["base"]["stage"], *recipe["stages"].values()]
    recipe["specialists"] = [s for s in recipe["specialists"] if s["name"] == "ocr"]
    stages += [s["stage"] for s in recipe["specialists"]]
    for stage in stages:
        stage.update(steps=6, batch_size=8)
    recipe["rounds"] = {"maximum": 1, "patience": 1}
    recipe["controls"] = [c for c in recipe["controls"] if c["name"] == "shuffled"]
    return recipe
