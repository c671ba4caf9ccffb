"""A run's report: its figures gathered from the services that hold them."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from services.controller.runs import Runs
from services.controller.tables import RoundRow, RunRow
from services.controller.verdicts import outcomes_of
from vila2.client import ApiError, Client
from vila2.data.images import decode
from vila2.data.layers import CaptionRow, captions_of, decode_layer_shard
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.evaluation.caption_metrics import CaptionMetrics, compute
from vila2.evaluation.outcomes import item_scores, macro_score
from vila2.evaluation.report import model as report
from vila2.evaluation.statistics import macro_difference
from vila2.recipe import Recipe

EXAMPLES = 8


class Reports:
    """Builds reports; nothing is stored, so a report always shows what is known now."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs

    def build(self, platform: Client, run: RunRow) -> report.RunReport:
        """The report of a run in any state: rounds that are not done are left out."""
        recipe = Recipe.model_validate(run.recipe)
        rows = [row for row in self._runs.rounds(run.id) if row.state == "done"]
        trained = [row for row in rows if row.kind != "base"]
        dataset, _, number = recipe.data.pretrain.partition("@")
        version = platform.datasets.version(dataset, int(number or 0))
        first_shard = list(read_shard_bytes(platform, dataset, version.version))
        captions = {row.name: self._captions(platform, row) for row in trained}
        names = list(dict.fromkeys(name for row in trained for name in row.scores))
        return report.RunReport(
            run=report.Run(
                id=run.id,
                name=run.name,
                recipe=recipe.name,
                recipe_hash=run.recipe_hash,
                dataset=f"{dataset}@{version.version}",
                state=run.state,
                started=datetime.fromtimestamp(run.created_at, UTC),
                finished=datetime.fromtimestamp(run.finished_at, UTC) if run.finished_at else None,
                seconds=max(0.0, (run.finished_at or run.created_at) - run.created_at),
            ),
            dataset=report.Dataset(
                samples=version.samples, shards=version.shards, rejected=version.rejected
            ),
            benchmarks=[report.Benchmark(name=name) for name in names],
            rounds=[
                self._round(platform, row, captions[row.name], first_shard, recipe.audit_words)
                for row in trained
            ],
            specialists=self._specialists(platform, recipe, trained),
            examples=_examples(first_shard, captions),
            notes=_notes(recipe, version.rejected, rows),
        )

    def _captions(self, platform: Client, row: RoundRow) -> list[CaptionRow]:
        """The first shard's captions of the layer that a round was trained on."""
        if not row.layer or row.kind == "control":
            return []
        return decode_layer_shard(platform.datasets.layer_content(row.layer, 0))

    def _round(
        self,
        platform: Client,
        row: RoundRow,
        captions: list[CaptionRow],
        samples: list[Sample],
        words: int,
    ) -> report.Round:
        verdict = row.verdict
        return report.Round(
            name=row.name,
            index=row.position,
            kind=row.kind,
            model=row.model,
            scores={name: report.Score(**score) for name, score in row.scores.items()},
            macro=_macro(platform, row),
            verdict=(
                report.RoundVerdict(
                    **{k: verdict[k] for k in ("kind", "difference", "low", "high", "evidence")}
                )
                if verdict
                else None
            ),
            caption_metrics=_metrics(captions, samples, budget=words),
            layer=_layer(platform, row.layer) if row.kind == "self" else None,
            stages=_stages(platform, row.train_job),
            seconds=max(0.0, row.ended_at - row.created_at),
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
                        layer=_layer(platform, row.skill_layers.get(name, "")),
                        stages=_stages(platform, held.job),
                        seconds=platform.training.job(held.job).seconds,
                    )
                )
        return found


def read_shard_bytes(platform: Client, dataset: str, version: int) -> list[Sample]:
    """The samples of a version's first shard."""
    return list(read_shard(platform.datasets.shard_content(dataset, version, 0)))


def _macro(platform: Client, row: RoundRow) -> report.MacroScore | None:
    """The mean over benchmarks; its interval is that of the difference from nothing."""
    try:
        scores = item_scores(outcomes_of(platform, row.evaluate_job))
    except ApiError:
        return None
    nothing = {name: dict.fromkeys(items, 0.0) for name, items in scores.items()}
    interval = macro_difference(nothing, scores)
    return report.MacroScore(score=macro_score(scores), low=interval.low, high=interval.high)


def _metrics(
    captions: list[CaptionRow], samples: list[Sample], *, budget: int
) -> CaptionMetrics | None:
    held = captions_of(captions)
    pairs = [(text, s.caption) for s in samples if (text := held.get(s.key)) is not None]
    if not pairs:
        return None
    texts, originals = [text for text, _ in pairs], [original for _, original in pairs]
    return compute(texts, originals, budget=budget)


def _layer(platform: Client, layer: str) -> report.Layer | None:
    if not layer:
        return None
    held = platform.datasets.layer(layer)
    return report.Layer(captioned=held.captioned, quarantined=held.quarantined)


def _stages(platform: Client, job: str) -> list[report.Stage]:
    """Steps, seconds and loss curve of each stage, from the job's own history."""
    try:
        lines = platform.training.artifact(job, "metrics.jsonl").splitlines()
    except ApiError:
        return []
    curves: dict[str, dict[int, tuple[float, float]]] = {}
    for line in lines:
        entry: Mapping[str, Any] = json.loads(line)
        curves.setdefault(entry["stage"], {})[entry["step"]] = (entry["loss"], entry["seconds"])
    return [
        report.Stage(
            name=name,
            steps=max(curve),
            seconds=curve[max(curve)][1],
            losses=[(step, loss) for step, (loss, _) in sorted(curve.items())],
        )
        for name, curve in curves.items()
    ]


def _examples(
    samples: list[Sample], captions: Mapping[str, list[CaptionRow]]
) -> list[report.Example]:
    from PIL import Image

    texts = {name: captions_of(rows) for name, rows in captions.items() if rows}
    made = []
    for sample in samples[:EXAMPLES]:
        buffer = io.BytesIO()
        picture = Image.fromarray(decode(sample.image))
        picture.thumbnail((256, 256))
        picture.save(buffer, format="PNG")
        made.append(
            report.Example(
                key=sample.key,
                image_png_base64=base64.b64encode(buffer.getvalue()).decode(),
                original=sample.caption,
                captions={
                    name: text if (text := held.get(sample.key)) is not None else "(quarantined)"
                    for name, held in texts.items()
                },
            )
        )
    return made


def _notes(recipe: Recipe, rejected: Mapping[str, int], rows: list[RoundRow]) -> list[str]:
    notes = [f"{control.name}: {control.says}" for control in recipe.controls]
    if rejected:
        counts = ", ".join(f"{n} {reason}" for reason, n in sorted(rejected.items()))
        notes.append(f"Not admitted to the dataset: {counts}.")
    failed = [row.name for row in rows if row.state == "failed"]
    if failed:
        notes.append(f"Failed and left out: {', '.join(failed)}.")
    return notes
