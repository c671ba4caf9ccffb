"""Judging a round: per-item outcomes of three models, compared by the library's statistics."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from services.controller.planner import RoundFacts, rival, self_rounds
from services.controller.tables import RoundRow
from vila2.client import Client
from vila2.evaluation.outcomes import Outcome, item_pictures, item_scores, read_outcomes
from vila2.evaluation.verdict import VerdictPolicy, judge
from vila2.recipe import Recipe


def round_scores(result: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """An evaluation's scores as benchmark -> score, low, high, n."""
    return {
        score["benchmark"]: {name: score[name] for name in ("score", "low", "high", "n")}
        for score in result["scores"]
    }


def outcomes_of(platform: Client, job: str) -> list[Outcome]:
    """The per-item outcomes that an evaluation job left."""
    text = platform.training.artifact(job, "outcomes.jsonl")
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "outcomes.jsonl"
        path.write_text(text)
        return read_outcomes(path)


def judge_round(
    platform: Client,
    recipe: Recipe,
    row: RoundRow,
    others: Mapping[str, RoundRow],
    facts: Sequence[RoundFacts],
    job: str,
) -> dict[str, Any] | None:
    """The verdict on a round as JSON, `None` for the baseline, which has no rival.

    A round is judged against the best so far; a control against the same, so that the report can
    say whether it did as well.
    """
    if row.kind == "baseline":
        return None
    mine = next(fact for fact in facts if fact.name == row.name)
    best = others[rival(facts, mine).name]
    earlier = [f for f in self_rounds(facts) if f.position < row.position]
    previous = others[earlier[-1].name if earlier else "round 0"]
    if row.kind == "control":
        best = previous = others["round 0"]
    outcomes = outcomes_of(platform, job)
    scores = {
        name: item_scores(outcomes_of(platform, other.evaluate_job))
        for name, other in (("best", best), ("previous", previous))
    }
    verdict = judge(
        previous=scores["previous"],
        best=scores["best"],
        current=item_scores(outcomes),
        clusters=item_pictures(outcomes),
        policy=VerdictPolicy(
            minimum_effect=recipe.rounds.minimum_effect,
            confidence=recipe.rounds.confidence,
            patience=recipe.rounds.patience,
        ),
        seed=recipe.seed,
    )
    return {
        "kind": verdict.kind,
        "difference": verdict.against_best.mid,
        "low": verdict.against_best.low,
        "high": verdict.against_best.high,
        "against": best.name,
        "evidence": verdict.evidence,
    }
