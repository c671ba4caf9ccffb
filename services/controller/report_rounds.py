"""The rounds of a report: scores, verdicts, captions, claims and comparisons with controls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.controller import captions
from services.controller.planner import BASELINE, SPECIALIST, best_round
from services.controller.runs import facts_of
from services.controller.tables import RoundRow
from services.controller.verdicts import outcomes_of
from vila2.client import ApiError, Client
from vila2.data.layers import CaptionRow
from vila2.data.sample import Sample
from vila2.evaluation.caption_metrics import CaptionMetrics, compute
from vila2.evaluation.claims import ClaimMetrics
from vila2.evaluation.outcomes import Outcome, item_pictures, item_scores
from vila2.evaluation.report import model as report
from vila2.evaluation.statistics import Interval, macro_difference, macro_interval
from vila2.evaluation.warnings import CaptionWarning
from vila2.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Known:
    """What the rounds of a report are described from; read once."""

    platform: Client
    recipe: Recipe
    samples: list[Sample]
    captions: Mapping[str, list[CaptionRow]]
    outcomes: Mapping[str, list[Outcome]]
    best: Mapping[str, str]  # control -> the round of the method that it is held against

    def difference(self, before: str, after: str) -> Interval | None:
        """The paired difference of two rounds' macro scores, `None` where one has no outcomes."""
        if before not in self.outcomes or after not in self.outcomes:
            return None
        return macro_difference(
            item_scores(self.outcomes[before]),
            item_scores(self.outcomes[after]),
            clusters=item_pictures(self.outcomes[after]),
            confidence=self.recipe.rounds.confidence,
            seed=self.recipe.seed,
        )


def outcomes_by_round(platform: Client, rows: Sequence[RoundRow]) -> dict[str, list[Outcome]]:
    """Round -> outcomes; a round whose evaluation left none is missing."""
    found = {}
    for row in rows:
        try:
            found[row.name] = outcomes_of(platform, row.evaluate_job)
        except ApiError as error:
            if error.passing:  # a report must not be without what is only away
                raise
            continue
    return found


def rivals(recipe: Recipe, rows: Sequence[RoundRow]) -> dict[str, str]:
    """Control -> the round that it is held against.

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
    return captions.first_captions(platform, row.layer)


def rounds_of(known: Known, rows: Sequence[RoundRow]) -> list[report.Round]:
    """Every round that is done, controls included."""
    truths = captions.benchmark_truths(known.platform, known.recipe.benchmarks)
    matched = captions.checked(known.outcomes, truths)
    whole = captions.checked(known.outcomes, truths, whole=True)
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
        stages=stages_of(known.platform, row.train_job),
        seconds=max(0.0, row.ended_at - row.created_at),
    )


def _of(interval: Interval) -> dict[str, float]:
    return {"difference": interval.mid, "low": interval.low, "high": interval.high}


def _macro(known: Known, name: str) -> report.MacroScore | None:
    outcomes = known.outcomes.get(name)
    if outcomes is None:
        return None
    found = macro_interval(
        item_scores(outcomes),
        clusters=item_pictures(outcomes),
        confidence=known.recipe.rounds.confidence,
    )
    return report.MacroScore(score=found.mid, low=found.low, high=found.high)


def _metrics(known: Known, row: RoundRow) -> CaptionMetrics | None:
    """Of the layer that a round was trained on; of the original texts for the baseline."""
    words = known.recipe.audit_words
    if row.kind == "baseline":
        originals = [sample.caption for sample in known.samples if sample.caption]
        return compute(originals, budget=words) if originals else None
    return captions.layer_metrics(known.captions[row.name], known.samples, budget=words)


def layer_of(platform: Client, layer: str) -> report.Layer | None:
    """What became of a layer's samples."""
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
