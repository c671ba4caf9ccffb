"""A run's report: its figures, collected from the services that store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import yaml

from services.controller.estimates.service import Estimates, costs
from services.controller.loop import caption_figures
from services.controller.report.examples import drawn, newest_captions, worst
from services.controller.report.lineage import data_sources, lineage
from services.controller.report.rounds import (
    Known,
    captions_of_round,
    layer_of,
    outcomes_by_round,
    rivals,
    rounds_of,
    stages_of,
)
from services.controller.runs.runs import Runs
from services.controller.tables import RoundRow, RunRow
from vila2.client import Client
from vila2.evaluation.report import model as report
from vila2.recipes.recipe import Recipe
from vila2.schemas.refs import DatasetRef


class Reports:
    """Builds reports. Nothing is stored, so a report always shows the current state."""

    def __init__(self, runs: Runs, estimates: Estimates) -> None:
        self._runs, self._estimates = runs, estimates

    def build(self, platform: Client, run: RunRow) -> report.RunReport:
        """The report of a run in any state: rounds that are not done are left out."""
        recipe = Recipe.model_validate(run.recipe)
        every = self._runs.rounds(run.id)
        rows = [row for row in every if row.state == "done"]
        trained = [row for row in rows if row.kind != "base"]
        dataset = recipe.data.pretrain
        version = platform.datasets.version(dataset.name, dataset.version)
        pretrain = DatasetRef(dataset.name, version.version)
        first_shard = caption_figures.first_samples(platform, pretrain)
        texts = {row.name: captions_of_round(platform, row) for row in trained}
        names = list(dict.fromkeys(name for row in trained for name in row.scores))
        known = Known(
            platform,
            recipe,
            first_shard,
            texts,
            outcomes_by_round(platform, recipe, trained),
            rivals(recipe, trained),
        )
        return report.RunReport(
            run=report.Run(
                id=run.id,
                name=run.name,
                recipe=recipe.name,
                recipe_hash=run.recipe_hash,
                dataset=pretrain,
                state=run.state,
                started=datetime.fromtimestamp(run.created_at, UTC),
                finished=datetime.fromtimestamp(run.finished_at, UTC) if run.finished_at else None,
                seconds=max(0.0, (run.finished_at or run.created_at) - run.created_at),
            ),
            dataset=report.Dataset(
                samples=version.samples, shards=version.shards, rejected=version.rejected
            ),
            benchmarks=[report.Benchmark(name=name) for name in names],
            rounds=rounds_of(known, trained),
            specialists=self._specialists(platform, recipe, trained),
            examples=drawn(first_shard, texts, seed=recipe.seed),
            worst=worst(first_shard, texts, newest_captions(trained, texts)),
            recipe_yaml=_yaml(recipe),
            sources=data_sources(platform, recipe),
            notes=_notes(version.rejected, every),
            costs=costs(platform, run, every, self._estimates.newest(run.team, run.recipe_hash)),
            lineage=lineage(platform, rows),
            seed_sd=known.seed_spread(),
        )

    def _specialists(
        self, platform: Client, recipe: Recipe, rows: list[RoundRow]
    ) -> list[report.Specialist]:
        found = []
        for row in rows:
            for name, specialist_id in row.specialists.items():
                held = platform.specialist.get(specialist_id)
                found.append(
                    report.Specialist(
                        name=name,
                        model=held.model,
                        layer=layer_of(platform, row.skill_layers.get(name, "")),
                        stages=stages_of(platform, held.job),
                        seconds=platform.training.job(held.job).seconds,
                    )
                )
        return found


def _notes(rejected: Mapping[str, int], rows: Sequence[RoundRow]) -> list[str]:
    notes = []
    if rejected:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(rejected.items()))
        notes.append(f"Not admitted to the dataset: {counts}.")
    notes += [
        f"Failed and left out: {row.name} ({row.error})." for row in rows if row.state == "failed"
    ]
    return notes


def _yaml(recipe: Recipe) -> str:
    """What a recipe sets, without the citations of its values."""
    content = recipe.model_dump(mode="json", exclude={"cites"}, exclude_defaults=True)
    return str(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=88))
