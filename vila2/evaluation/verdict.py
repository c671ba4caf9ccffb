"""Whether a round helped: *improved*, *no measurable change* or *worse*, with the evidence.

Pure: scores in, verdict out. The paper continues for as long as scores rise and shows no error
bars; its own gains after round 1 are mostly under one point (arXiv 2407.17453, tables 1 and 3),
so here a gain counts only when the items themselves support it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vila2.evaluation.statistics import Interval, Scores, macro_difference

VerdictKind = Literal["improved", "no_measurable_change", "worse"]
BenchmarkItems = Mapping[str, Scores]
FEWEST_PICTURES = 10  # below this a bootstrap interval can be wholly positive by luck alone


class VerdictPolicy(BaseModel):
    """When a round counts as better, and when to stop.

    `minimum_effect` is the smallest gain of the macro score worth another round, in score units
    (0.01 is one point); `patience` the number of rounds in a row without improvement that ends the
    loop.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum_effect: float = Field(default=0.0, ge=0.0, le=1.0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    patience: int = Field(default=1, ge=1)
    resamples: int = Field(default=2000, ge=100)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A round's verdict; the intervals are of differences of the macro score."""

    kind: VerdictKind
    against_previous: Interval
    against_best: Interval
    evidence: str


def judge(
    *,
    previous: BenchmarkItems,
    best: BenchmarkItems,
    current: BenchmarkItems,
    policy: VerdictPolicy,
    clusters: Mapping[str, Mapping[str, str]] | None = None,
    seed: int = 0,
) -> Verdict:
    """Compare a round's per-item scores with the previous round's and with the best so far.

    All three map benchmark -> item -> score over the same items. The best so far decides:

    - *improved*: the interval of the difference lies above zero, and the difference is at least
      the policy's minimum effect;
    - *worse*: the interval lies below zero, whatever its size;
    - *no measurable change*: anything else, and always when a benchmark has fewer than
      `FEWEST_PICTURES` pictures.

    Take as `best` the last round that was judged improved (the baseline before any was), not the
    highest mean: a lucky maximum would be an unfair rival. `clusters` maps benchmark -> item ->
    picture (`outcomes.item_pictures`). Raises `ValueError` when benchmarks or items differ.
    """
    intervals = [
        macro_difference(
            rival,
            current,
            clusters=clusters,
            confidence=policy.confidence,
            resamples=policy.resamples,
            seed=seed,
        )
        for rival in (previous, best)
    ]
    against_previous, against_best = intervals
    fewest = min(_pictures(current, clusters).values())
    kind, reason = _decide(against_best, policy=policy, fewest=fewest)
    evidence = (
        f"{_WORDS[kind]}: the macro score over {len(current)} benchmark(s) changed by"
        f" {_points(against_best, policy)} against the best so far and by"
        f" {_points(against_previous, policy)} against the previous round; {reason}."
    )
    return Verdict(kind, against_previous, against_best, evidence)


def saturated(verdicts: Sequence[Verdict | VerdictKind], patience: int) -> bool:
    """Tell whether the last `patience` rounds all failed to improve."""
    if patience < 1:
        raise ValueError(f"patience is {patience}; it counts rounds from 1")
    kinds = [verdict.kind if isinstance(verdict, Verdict) else verdict for verdict in verdicts]
    return len(kinds) >= patience and "improved" not in kinds[-patience:]


_WORDS: Mapping[VerdictKind, str] = {
    "improved": "Improved",
    "no_measurable_change": "No measurable change",
    "worse": "Worse",
}


def _decide(difference: Interval, *, policy: VerdictPolicy, fewest: int) -> tuple[VerdictKind, str]:
    if fewest < FEWEST_PICTURES:
        return "no_measurable_change", (
            f"{fewest} picture(s) in a benchmark are too few to tell, {FEWEST_PICTURES} are needed"
        )
    if difference.high < 0:
        return "worse", "the interval lies below zero"
    if difference.low <= 0:
        return "no_measurable_change", "the interval includes zero"
    if difference.mid < policy.minimum_effect:
        return "no_measurable_change", (
            f"the gain is smaller than the {100 * policy.minimum_effect:.1f} points asked for"
        )
    return "improved", "the interval lies above zero"


def _pictures(
    scores: BenchmarkItems, clusters: Mapping[str, Mapping[str, str]] | None
) -> dict[str, int]:
    if clusters is None:
        return {benchmark: len(items) for benchmark, items in scores.items()}
    return {b: len({clusters[b][item] for item in items}) for b, items in scores.items()}


def _points(interval: Interval, policy: VerdictPolicy) -> str:
    low, mid, high = (100 * value for value in (interval.low, interval.mid, interval.high))
    return f"{mid:+.1f} points ({100 * policy.confidence:g}% interval {low:+.1f} to {high:+.1f})"
