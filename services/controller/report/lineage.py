"""The lineage of each model in a report."""

from __future__ import annotations

from collections.abc import Sequence

from services.controller.tables import RoundRow
from vila2.client import ApiError, Client
from vila2.evaluation.report.facts import DataRead, LayerRead, Lineage


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
