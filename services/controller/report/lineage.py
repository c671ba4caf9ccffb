"""The lineage of each model in a report, and the data that the run reads."""

from __future__ import annotations

from collections.abc import Sequence

from services.controller.tables import RoundRow
from vila2.client import ApiError, Client
from vila2.evaluation.report.facts import DataRead, DataSource, LayerRead, Lineage
from vila2.recipes.recipe import Recipe


def lineage(platform: Client, rows: Sequence[RoundRow]) -> list[Lineage]:
    """Lineage of every model that the rounds trained; deleted models are left out."""
    found = []
    for row in rows:
        models = row.seed_models or {"": row.model}
        for seed, model in models.items():
            name = f"{row.name}, seed {seed}" if seed else row.name
            if model and (held := _lineage(platform, name, model)) is not None:
                found.append(held)
    return found


def data_sources(platform: Client, recipe: Recipe) -> list[DataSource]:
    """The datasets of a pinned recipe, with the licence and source that were stated."""
    used: dict[str, list[str]] = {name: [] for name in recipe.datasets()}
    for purpose, names in _purposes(recipe):
        for name in names:
            if name and purpose not in used[name]:
                used[name].append(purpose)
    found = []
    for dataset in recipe.datasets():
        version = platform.datasets.version(dataset.name, dataset.version)
        found.append(
            DataSource(
                dataset=f"{version.dataset}@{version.version}",
                used_for=used[dataset],
                kind=version.kind,
                samples=version.samples,
                licence=version.licence,
                source=version.source,
            )
        )
    return found


def _purposes(recipe: Recipe) -> list[tuple[str, list[str]]]:
    data = recipe.data
    return [
        ("base", [recipe.model.base.dataset]),
        ("align", [data.align]),
        ("recaptioned, pretrain", [data.pretrain]),
        ("pretrain", list(data.pretrain_also)),
        ("sft", [data.sft]),
        *[(f"{held.name} specialist", [str(held.dataset)]) for held in recipe.specialists],
        ("benchmark", list(recipe.benchmarks)),
    ]


def _lineage(platform: Client, name: str, model: str) -> Lineage | None:
    try:
        details = platform.training.model_details(model)
    except ApiError as error:
        if error.passing:
            raise
        return None
    return Lineage(
        name=name,
        model=details.name,
        sha256=details.sha256,
        parent=details.parent,
        job=details.job,
        reads=[
            DataRead(
                stage=item.stage,
                dataset=f"{item.dataset}@{item.version}",
                sha256=item.sha256,
                samples=item.samples,
                policy=str(item.assembly.get("policy", "")),
                layers=[
                    LayerRead(**{k: v for k, v in layer.items() if k != "alias"})
                    for layer in item.layers
                ],
            )
            for item in details.lineage
        ],
    )
