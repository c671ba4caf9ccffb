"""Whether a round helped: *improved*, *no measurable change* or *worse*, with the evidence.

Pure: scores in, verdict out. The paper continues for as long as scores rise and shows no error
bars; its own gains after round 1 are mostly under one point (arXiv 2407.17453, tables 1 and 3),
so here a gain counts only when the items themselves support it. How often a verdict is wrong is
measured by `bench/verdict.py`; `docs/verdict.md` has the table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from vila2.evaluation.statistics.bootstrap import (
    BenchmarkItems,
    Clusters,
    Interval,
    SeedItems,
    difference_over_seeds,
    seed_spread,
)

VerdictKind = Literal["improved", "no_measurable_change", "worse"]
FEWEST_IMAGES = 10  # below this a bootstrap interval can be wholly positive by luck alone


class VerdictPolicy(BaseModel):
    """When a round counts as better, and when to stop.

    `minimum_effect` is the smallest gain of the macro score worth another round, in score units
    (0.01 is one point); `patience` the number of rounds in a row without improvement that ends the
    loop. `seed_sd` is the standard deviation of the macro score between trainings that differ in
    their seed only, in score units: it widens intervals if no round has two seeds.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    minimum_effect: float = Field(default=0.0, ge=0.0, le=1.0)
    confidence: float = Field(default=0.95, gt=0.5, lt=1.0)
    patience: int = Field(default=1, ge=1)
    resamples: int = Field(default=2000, ge=100)
    seed_sd: float = Field(default=0.0, ge=0.0, le=1.0)


@dataclass(frozen=True, slots=True)
class Verdict:
    """A round's verdict; the intervals are of differences of the macro score.

    `seeds` counts the trainings of the best so far and of the round; `seed_sd` is the standard
    deviation of the macro score between seeds, pooled over the two, beyond what chance answers
    explain. `None` if neither has two seeds.
    """

    kind: VerdictKind
    against_previous: Interval
    against_best: Interval
    evidence: str
    seeds: tuple[int, int] = (1, 1)
    seed_sd: float | None = None


def judge(
    *,
    previous: SeedItems,
    best: SeedItems,
    current: SeedItems,
    policy: VerdictPolicy,
    clusters: Clusters | None = None,
    seed: int = 0,
) -> Verdict:
    """Compare a round's per-item scores with the previous round's and with the best so far.

    All three map a training's seed -> benchmark -> item -> score, over the same items; a round
    that was trained once has one seed. The best so far decides:

    - *improved*: the interval of the difference is above zero, and the difference is at least
      the policy's minimum effect;
    - *worse*: the interval is below zero, whatever its size;
    - *no measurable change*: anything else, and always when a benchmark has fewer than
      `FEWEST_IMAGES` images.

    Take as `best` the last round that was judged improved (the baseline before any was), not the
    highest mean: a lucky maximum would be a biased baseline. `clusters` maps benchmark -> item ->
    image (`outcomes.item_images`). Raises `ValueError` when benchmarks or items differ.
    """
    against_previous, against_best = (
        difference_over_seeds(
            rival,
            current,
            clusters=clusters,
            confidence=policy.confidence,
            resamples=policy.resamples,
            seed=seed,
            seed_sd=policy.seed_sd,
        )
        for rival in (previous, best)
    )
    items = next(iter(current.values()))
    kind, reason = decide(against_best, policy=policy, fewest=min(_images(items, clusters)))
    seeds = (len(best), len(current))
    spread = seed_spread([best, current], clusters=clusters) if max(seeds) > 1 else None
    evidence = (
        f"{_WORDS[kind]}: the macro score over {len(items)} benchmark(s) changed by"
        f" {_points(against_best, policy)} against the best so far and by"
        f" {_points(against_previous, policy)} against the previous round; {reason}."
        f" {_what_is_covered(seeds, spread, policy)}"
    )
    return Verdict(kind, against_previous, against_best, evidence, seeds, spread)


def decide(difference: Interval, *, policy: VerdictPolicy, fewest: int) -> tuple[VerdictKind, str]:
    """The verdict on a difference to the best so far, and the reason as a clause.

    `fewest` is the number of images of the smallest benchmark.
    """
    if fewest < FEWEST_IMAGES:
        return "no_measurable_change", (
            f"{fewest} image(s) in a benchmark are too few to tell, {FEWEST_IMAGES} are needed"
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


def saturated(verdicts: Sequence[Verdict | VerdictKind], patience: int) -> bool:
    """Whether the last `patience` rounds all failed to improve."""
    if patience < 1:
        raise ValueError(f"patience is {patience}; it counts rounds from 1")
    kinds = [verdict.kind if isinstance(verdict, Verdict) else verdict for verdict in verdicts]
    return len(kinds) >= patience and "improved" not in kinds[-patience:]


_WORDS: Mapping[VerdictKind, str] = {
    "improved": "Improved",
    "no_measurable_change": "No measurable change",
    "worse": "Worse",
}


def _images(scores: BenchmarkItems, clusters: Clusters | None) -> list[int]:
    if clusters is None:
        return [len(items) for items in scores.values()]
    return [len({clusters[b][item] for item in items}) for b, items in scores.items()]


def _what_is_covered(seeds: tuple[int, int], spread: float | None, policy: VerdictPolicy) -> str:
    if spread is not None:
        return (
            f"{seeds[0]} training(s) of the best and {seeds[1]} of this round, which differ by"
            f" {100 * spread:.1f} points between seeds (standard deviation): the intervals cover"
            " the choice of images and the luck of the seed."
        )
    if policy.seed_sd:
        return (
            "One training each: the intervals cover the choice of images, and the luck of the"
            f" seed as the recipe states it ({100 * policy.seed_sd:.1f} points)."
        )
    return "One training each: the intervals cover the choice of images, not the luck of the seed."


def _points(interval: Interval, policy: VerdictPolicy) -> str:
    low, mid, high = (100 * value for value in (interval.low, interval.mid, interval.high))
    return f"{mid:+.1f} points ({100 * policy.confidence:g}% interval {low:+.1f} to {high:+.1f})"
