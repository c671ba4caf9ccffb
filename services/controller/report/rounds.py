"""The rounds of a report: scores, verdicts, captions, claims and comparisons with controls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.controller.loop import caption_figures
from services.controller.loop.judging import SeedOutcomes, outcomes_over_seeds
from services.controller.rounds.planner import BASELINE, SPECIALIST, best_round
from services.controller.rounds.seeds import first, models_of, trainings
from services.controller.runs.run_rows import facts_of
from services.controller.tables import RoundRow
from vila2.client import ApiError, Client
from vila2.data.layers import CaptionRow
from vila2.data.sample import Sample
from vila2.evaluation.metrics.captions import CaptionMetrics, compute
from vila2.evaluation.metrics.claims import ClaimMetrics
from vila2.evaluation.outcomes import item_images, item_scores, macro_score
from vila2.evaluation.report import model as report
from vila2.evaluation.statistics.bootstrap import (
    Interval,
    SeedItems,
    difference_over_seeds,
    macro_over_seeds,
    seed_spread,
)
from vila2.evaluation.warnings import CaptionWarning
from vila2.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Known:
    """The data from which a report's rounds are built; read once."""

    platform: Client
    recipe: Recipe
    samples: list[Sample]
    captions: Mapping[str, list[CaptionRow]]
    outcomes: Mapping[str, SeedOutcomes]
    best: Mapping[str, str]  # control -> the round of the method that it is compared with

    def difference(self, before: str, after: str) -> Interval | None:
        """The paired difference of two rounds' macro scores, `None` if one has no outcomes."""
        if before not in self.outcomes or after not in self.outcomes:
            return None
        return difference_over_seeds(
            self.scores(before),
            self.scores(after),
            clusters=item_images(first(self.outcomes[after])),
            confidence=self.recipe.rounds.confidence,
            seed=self.recipe.seed,
            seed_sd=self.recipe.rounds.seed_sd,
        )

    def scores(self, name: str) -> SeedItems:
        """A round's scores by seed, benchmark and item."""
        return {seed: item_scores(outcomes) for seed, outcomes in self.outcomes[name].items()}

    def seed_spread(self) -> float | None:
        """The macro score's standard deviation between seeds, pooled over all rounds."""
        if not self.outcomes:
            return None
        images = item_images(first(next(iter(self.outcomes.values()))))
        return seed_spread([self.scores(name) for name in self.outcomes], clusters=images)


def outcomes_by_round(
    platform: Client, recipe: Recipe, rows: Sequence[RoundRow]
) -> dict[str, SeedOutcomes]:
    """Round -> outcomes of all its seeds; a round whose evaluations left none is missing."""
    found = {}
    for row in rows:
        try:
            found[row.name] = outcomes_over_seeds(platform, recipe, row)
        except ApiError as error:
            if error.passing:  # an unavailable service must fail the report, not leave a gap in it
                raise
            continue
    return found


def rivals(recipe: Recipe, rows: Sequence[RoundRow]) -> dict[str, str]:
    """Control -> the round that it is compared with.

    The specialists' round for a control that has their steps or data, else the best round as the
    planner sees it. Empty before there is a round.
    """
    facts = [facts_of(row) for row in rows]
    if not any(fact.kind == "baseline" for fact in facts):
        return {}
    has_specialists = any(fact.name == SPECIALIST for fact in facts)
    return {
        control.name: (
            SPECIALIST
            if has_specialists and (control.specialist_data or control.extra_steps == "specialists")
            else best_round(facts).name
        )
        for control in recipe.controls
    }


def captions_of_round(platform: Client, row: RoundRow) -> list[CaptionRow]:
    """The first shard's captions of the layer that a round was trained on."""
    if not row.layer or row.kind == "control":
        return []
    return caption_figures.first_captions(platform, row.layer)


def rounds_of(known: Known, rows: Sequence[RoundRow]) -> list[report.Round]:
    """Every round that is done, controls included."""
    truths = caption_figures.benchmark_truths(known.platform, known.recipe.benchmarks)
    # The first seed's answers: its model is the one that captions.
    answers = {name: first(held) for name, held in known.outcomes.items()}
    matched = caption_figures.checked(answers, truths)
    whole = caption_figures.checked(answers, truths, whole=True)
    return [_round(known, row, matched.get(row.name), whole.get(row.name)) for row in rows]


def _round(
    known: Known, row: RoundRow, claims: ClaimMetrics | None, whole: ClaimMetrics | None
) -> report.Round:
    verdict = row.verdict or {}
    says = {control.name: control.says for control in known.recipe.controls}
    since = known.difference(BASELINE, row.name) if row.kind != "baseline" else None
    rival = known.best.get(row.name, "") if row.kind == "control" else ""
    above = known.difference(row.name, rival)
    return report.Round(
        name=row.name,
        index=row.position,
        kind=row.kind,
        model=row.model,
        scores={name: report.Score(**score) for name, score in row.scores.items()},
        macro=_macro(known, row.name),
        seeds=_seeds(known, row),
        verdict=(
            report.RoundVerdict(
                **{k: verdict[k] for k in ("kind", "difference", "low", "high", "evidence")}
            )
            if verdict
            else None
        ),
        since_baseline=report.Difference(**_of(since)) if since else None,
        best_above=report.Comparison(**_of(above), round=rival) if above else None,
        caption_metrics=_metrics(known, row),
        claims=claims,
        claims_whole=whole,
        warnings=[CaptionWarning(**held) for held in verdict.get("warnings", [])],
        says=says.get(row.name, "") if row.kind == "control" else "",
        layer=layer_of(known.platform, row.layer) if row.kind == "self" else None,
        stages=stages_of(known.platform, _first_training(known.platform, known.recipe, row)),
        seconds=max(0.0, row.ended_at - row.created_at),
    )


def _of(interval: Interval) -> dict[str, float]:
    return {"difference": interval.mid, "low": interval.low, "high": interval.high}


def _macro(known: Known, name: str) -> report.MacroScore | None:
    if name not in known.outcomes:
        return None
    found = macro_over_seeds(
        known.scores(name),
        clusters=item_images(first(known.outcomes[name])),
        confidence=known.recipe.rounds.confidence,
    )
    return report.MacroScore(score=found.mid, low=found.low, high=found.high)


def _seeds(known: Known, row: RoundRow) -> list[report.SeedScore]:
    """The score of each seed's model, if there are several."""
    if row.name not in known.outcomes or not row.seed_models:
        return []
    models = models_of(row, known.recipe.seed)
    return [
        report.SeedScore(seed=seed, model=models[seed], macro=macro_score(scores))
        for seed, scores in known.scores(row.name).items()
    ]


def _first_training(platform: Client, recipe: Recipe, row: RoundRow) -> str:
    """The job that trained the first seed's model."""
    if not row.seed_models:
        return row.train_job
    return trainings(platform.training.job(row.train_job), recipe.seed)[0].job


def _metrics(known: Known, row: RoundRow) -> CaptionMetrics | None:
    """Of the layer that a round was trained on; of the original texts for the baseline."""
    words = known.recipe.audit_words
    if row.kind == "baseline":
        originals = [sample.caption for sample in known.samples if sample.caption]
        return compute(originals, budget=words) if originals else None
    return caption_figures.layer_metrics(known.captions[row.name], known.samples, budget=words)


def layer_of(platform: Client, layer: str) -> report.Layer | None:
    """How many of a layer's samples were captioned or quarantined."""
    if not layer:
        return None
    held = platform.datasets.layer(layer)
    return report.Layer(captioned=held.captioned, quarantined=held.quarantined)


def stages_of(platform: Client, job: str) -> list[report.Stage]:
    """Steps, seconds and loss curve of each stage, from the job's own history."""
    try:
        lines = platform.training.artifact(job, "metrics.jsonl").splitlines()
    except ApiError as error:
        if error.passing:
            raise
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
