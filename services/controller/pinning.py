"""Pinning: a run reads the dataset versions that were newest when it started, to its end."""

from __future__ import annotations

from collections.abc import Mapping

from services.chassis.errors import Invalid
from vila2.client import ApiError, Client
from vila2.recipe import Recipe


def pinned(recipe: Recipe, platform: Client) -> Recipe:
    """The recipe with every dataset as `name@version`.

    Raises `Invalid` naming the dataset that is missing or not ready.
    """
    versions: dict[str, str] = {}
    for wanted in recipe.datasets():
        name, _, number = wanted.partition("@")
        try:
            version = platform.datasets.version(name, int(number or 0))
        except (ApiError, ValueError) as error:
            raise Invalid(
                f"the recipe names the dataset {wanted!r}: {error}",
                field="recipe.data",
                fix="submit it first with `vila2 datasets submit`, or correct the recipe",
            ) from error
        if version.state != "ready":
            raise Invalid(f"dataset {wanted} is {version.state}, not ready", field="recipe.data")
        versions[wanted] = f"{name}@{version.version}"
    return _renamed(recipe, versions)


def _renamed(recipe: Recipe, versions: Mapping[str, str]) -> Recipe:
    content = recipe.model_dump()
    content["model"]["base"]["dataset"] = versions.get(recipe.model.base.dataset, "")
    for field in ("pretrain", "sft", "align"):
        content["data"][field] = versions.get(content["data"][field], "")
    content["data"]["pretrain_also"] = [versions[name] for name in recipe.data.pretrain_also]
    for specialist in content["specialists"]:
        specialist["dataset"] = versions[specialist["dataset"]]
    content["benchmarks"] = [versions[name] for name in recipe.benchmarks]
    return Recipe.model_validate(content)
