"""Judging a round: its outcomes and captions compared with earlier rounds'."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from services.controller.loop import caption_figures
from services.controller.rounds.planner import RoundFacts, rival, self_rounds
from services.controller.rounds.seeds import evaluations_of, first
from services.controller.tables import RoundRow
from vila2.client import Client
from vila2.evaluation.outcomes import Outcome, item_images, item_scores, read_outcomes
from vila2.evaluation.statistics.bootstrap import SeedItems, macro_over_seeds
from vila2.evaluation.verdict import VerdictPolicy, judge
from vila2.evaluation.warnings import CaptionWarning, as_json, stops
from vila2.recipes.recipe import Recipe

SeedOutcomes = Mapping[int, list[Outcome]]


def round_scores(
    recipe: Recipe, result: Mapping[str, Any], found: SeedOutcomes
) -> dict[str, dict[str, float]]:
    """A round's scores as benchmark -> score, low, high, n.

    With one seed they are those of its evaluation's result; with several the mean over seeds, with
    an interval over images and seeds.
    """
    if len(found) == 1:
        return {
            score["benchmark"]: {name: score[name] for name in ("score", "low", "high", "n")}
            for score in result["scores"]
        }
    images = item_images(first(found))
    scores = {seed: item_scores(outcomes) for seed, outcomes in found.items()}
    made = {}
    for benchmark, items in first(scores).items():
        interval = macro_over_seeds(
            {seed: {benchmark: held[benchmark]} for seed, held in scores.items()},
            clusters=images,
            confidence=recipe.rounds.confidence,
            seed=recipe.seed,
        )
        made[benchmark] = {
            "score": interval.mid,
            "low": max(interval.low, min(_all(scores, benchmark))),
            "high": min(interval.high, max(_all(scores, benchmark))),
            "n": len(items),
        }
    return made


def outcomes_of(platform: Client, job: str) -> list[Outcome]:
    """The per-item outcomes written by an evaluation job."""
    text = platform.training.artifact(job, "outcomes.jsonl")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "outcomes.jsonl"
        path.write_text(text)
        return read_outcomes(path)


def outcomes_over_seeds(platform: Client, recipe: Recipe, row: RoundRow) -> SeedOutcomes:
    """Seed -> outcomes of that seed's model, the first seed's first."""
    held = evaluations_of(row, recipe.seed)
    return {seed: outcomes_of(platform, job) for seed, job in held.items()}


def judge_round(
    platform: Client,
    recipe: Recipe,
    row: RoundRow,
    others: Mapping[str, RoundRow],
    facts: Sequence[RoundFacts],
    found: SeedOutcomes,
) -> dict[str, Any] | None:
    """The verdict on a round as JSON, `None` for the baseline, which has no rival.

    A round is judged against the best so far; a control against the same, so that the report can
    state whether it did as well. `found` are the round's outcomes, of all its seeds. `captions` and
    `claims` are the figures of the round's captions, `warnings` what they warn of, and `stop`
    whether the recipe ends the loop for it.
    """
    if row.kind == "baseline":
        return None
    mine = next(fact for fact in facts if fact.name == row.name)
    best = others[rival(facts, mine).name]
    earlier = [f for f in self_rounds(facts) if f.position < row.position]
    previous = others[earlier[-1].name if earlier else "round 0"]
    if row.kind == "control":
        best = previous = others["round 0"]
    held = {
        "best": outcomes_over_seeds(platform, recipe, best),
        "previous": outcomes_over_seeds(platform, recipe, previous),
        "current": found,
    }
    scores = {
        name: {seed: item_scores(outcomes) for seed, outcomes in by_seed.items()}
        for name, by_seed in held.items()
    }
    verdict = judge(
        previous=scores["previous"],
        best=scores["best"],
        current=scores["current"],
        clusters=item_images(first(found)),
        policy=VerdictPolicy(
            minimum_effect=recipe.rounds.minimum_effect,
            confidence=recipe.rounds.confidence,
            patience=recipe.rounds.patience,
            seed_sd=recipe.rounds.seed_sd,
        ),
        seed=recipe.seed,
    )
    described, warnings = _captions(platform, recipe, row, previous, held)
    return {
        "kind": verdict.kind,
        "difference": verdict.against_best.mid,
        "low": verdict.against_best.low,
        "high": verdict.against_best.high,
        "against": best.name,
        "seeds": list(verdict.seeds),
        "seed_sd": verdict.seed_sd,
        "evidence": verdict.evidence,
        **described,
        "warnings": as_json(warnings),
        "stop": stops(warnings, recipe.rounds.stop_on),
    }


def _captions(
    platform: Client,
    recipe: Recipe,
    row: RoundRow,
    previous: RoundRow,
    held: Mapping[str, SeedOutcomes],
) -> tuple[dict[str, Any], list[CaptionWarning]]:
    """Figures of the captions that a self round was trained on, and what they warn of.

    The layer was made by the model of the round before: its truth is what that model's answers to
    the benchmarks' captioning items show, and the round's own answers show the next layer's.
    """
    truths = caption_figures.benchmark_truths(platform, recipe.benchmarks)
    claims = caption_figures.checked(
        {name: first(held[name]) for name in ("previous", "current")}, truths
    )
    described: dict[str, Any] = {
        "captions": None,
        "claims": asdict(claims["current"]) if "current" in claims else None,
    }
    if row.kind != "self":
        return described, []
    samples = caption_figures.first_samples(platform, recipe.data.pretrain)
    rows = caption_figures.first_captions(platform, row.layer)
    metrics = caption_figures.layer_metrics(rows, samples)
    described["captions"] = asdict(metrics) if metrics else None
    if previous.kind != "self":
        return described, []  # alt-text is no earlier round of generated captions
    return described, caption_figures.warnings_between(
        caption_figures.first_captions(platform, previous.layer),
        rows,
        samples,
        claims_before=claims.get("previous"),
        claims_after=claims.get("current"),
    )


def _all(scores: SeedItems, benchmark: str) -> list[float]:
    return [score for held in scores.values() for score in held[benchmark].values()]
