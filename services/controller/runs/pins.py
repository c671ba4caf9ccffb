"""Pinning: a run reads the dataset versions that were newest when it started, to its end."""

from __future__ import annotations

from collections.abc import Mapping

from services.chassis.web.errors import Invalid
from vila2.client import ApiError, Client
from vila2.recipes.recipe import Recipe
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.datasets import Kind


def pinned(recipe: Recipe, platform: Client) -> Recipe:
    """The recipe with every dataset as `name@version`.

    Raises `Invalid` naming a dataset that is missing, not ready or of another kind, or a layer that
    cannot be trained on.
    """
    versions: dict[str, str] = {}
    kinds = _kinds(recipe)
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
        field, kind = kinds.get(wanted, ("", version.kind))
        if version.kind != kind:
            raise Invalid(
                f"{wanted} holds {version.kind}, and {field} needs {kind}",
                field=f"recipe.{field}",
                fix="name another dataset, or submit this one again with another --format",
            )
        versions[wanted] = DatasetRef(wanted.name, version.version)
    made = renamed(recipe, versions)
    _check_layers(made, platform)
    return made


def _kinds(recipe: Recipe) -> dict[str, tuple[str, Kind]]:
    """Dataset -> the field that names it, and the kind that it must have there."""
    kinds: dict[str, tuple[str, Kind]] = {}
    if recipe.model.base.dataset:
        kinds[recipe.model.base.dataset] = ("model.base.dataset", "conversations")
    kinds[recipe.data.sft] = ("data.sft", "conversations")
    for number, specialist in enumerate(recipe.specialists):
        kinds[specialist.dataset] = (f"specialists.{number}.dataset", "conversations")
    for number, benchmark in enumerate(recipe.benchmarks):
        kinds[benchmark] = (f"benchmarks.{number}", "benchmark")
    return kinds


def _check_layers(recipe: Recipe, platform: Client) -> None:
    """The stored layers of controls are sealed, and of the version that is recaptioned."""
    for number, control in enumerate(recipe.controls):
        if control.captions != "layer":
            continue
        field = f"recipe.controls.{number}.layer"
        try:
            layer = platform.datasets.layer(control.layer)
        except ApiError as error:
            if error.passing:
                raise
            raise Invalid(
                f"the control {control.name!r} names the layer {control.layer!r}: {error}",
                field=field,
                fix="`vila2 captions list` names those that exist",
            ) from error
        version = DatasetRef(layer.dataset, layer.version)
        if layer.state != "sealed" or version != recipe.data.pretrain:
            raise Invalid(
                f"{control.layer} is a layer of {version} and {layer.state}; the control "
                f"{control.name!r} needs a sealed one of {recipe.data.pretrain}",
                field=field,
                fix="name another layer",
            )


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
