"""Pinning: a run reads the dataset versions that were newest when it started, to its end."""

from __future__ import annotations

from collections.abc import Mapping

from services.chassis.web.errors import Invalid
from vila2.client import ApiError, Client
from vila2.recipes.recipe import Recipe
from vila2.schemas.refs import DatasetRef


def pinned(recipe: Recipe, platform: Client) -> Recipe:
    """The recipe with every dataset as `name@version`.

    Raises `Invalid` naming the dataset that is missing or not ready.
    """
    versions: dict[str, str] = {}
    for wanted in recipe.datasets():
        try:
            version = platform.datasets.version(wanted.name, wanted.version)
        except ApiError as error:
            if error.passing:
                raise
            raise Invalid(
                f"the recipe names the dataset {wanted!r}: {error}",
                field="recipe.data",
                fix="submit it first with `vila2 datasets submit`, or correct the recipe",
            ) from error
        if version.state != "ready":
            raise Invalid(f"dataset {wanted} is {version.state}, not ready", field="recipe.data")
        versions[wanted] = DatasetRef(wanted.name, version.version)
    return renamed(recipe, versions)


def renamed(recipe: Recipe, names: Mapping[str, str]) -> Recipe:
    """The recipe with other names for its datasets; one that is not in `names` keeps its own."""

    def new(name: str) -> str:
        return names.get(name, name)

    content = recipe.model_dump()
    content["model"]["base"]["dataset"] = new(recipe.model.base.dataset)
    for field in ("pretrain", "sft", "align"):
        content["data"][field] = new(content["data"][field])
    content["data"]["pretrain_also"] = [new(name) for name in recipe.data.pretrain_also]
    for specialist in content["specialists"]:
        specialist["dataset"] = new(specialist["dataset"])
    content["benchmarks"] = [new(name) for name in recipe.benchmarks]
    return Recipe.model_validate(content)
