"""Bootstrap intervals for scores and for differences between two rounds.

Paired over items, since both rounds answered the same ones (Koehn, *Statistical Significance Tests
for Machine Translation Evaluation*, EMNLP 2004). If several items share an image, whole
images are resampled: answers about one image rise and fall together. How an interval is made
is described in `resampling`; its error rate is measured by `bench/verdict.py` and published in
`docs/verdict.md`.

What an interval covers: the choice of images, and the luck of training where a round was
trained with two seeds or more (`difference_over_seeds`). One training's luck is *not* covered by
any interval over images. An interval has no width when all scores are equal.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from vila2.evaluation.statistics.resampling import (
    BenchmarkItems,
    Clusters,
    ImageDraws,
    Interval,
    Scores,
    interval_of,
    score_table,
    seed_variance,
)

__all__ = [
    "BenchmarkItems",
    "Clusters",
    "Interval",
    "Scores",
    "SeedItems",
    "difference_over_seeds",
    "macro_difference",
    "macro_interval",
    "macro_over_seeds",
    "mean_interval",
    "paired_difference",
    "paired_difference_over_seeds",
    "seed_spread",
]
SeedItems = Mapping[int, BenchmarkItems]


def mean_interval(
    scores: Sequence[float],
    *,
    clusters: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean of `scores` with its interval, which never leaves the scores' range.

    `clusters` names the cluster (image) of each score in turn; clusters are then resampled
    whole. Raises `ValueError` for no scores, scores that are not finite, or a bad option.
    """
    if clusters is not None and len(clusters) != len(scores):
        raise ValueError(f"{len(scores)} scores but {len(clusters)} clusters")
    items = [str(index) for index in range(len(scores))]
    grouped = None if clusters is None else {"": dict(zip(items, clusters, strict=True))}
    found = macro_interval(
        {"": dict(zip(items, scores, strict=True))},
        clusters=grouped,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )
    return Interval(max(found.low, min(scores)), found.mid, min(found.high, max(scores)))


def macro_interval(
    scores: BenchmarkItems,
    *,
    clusters: Clusters | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return one model's macro average (every benchmark counts alike) with its interval."""
    return macro_over_seeds(
        {0: scores}, clusters=clusters, confidence=confidence, resamples=resamples, seed=seed
    )


def macro_over_seeds(
    scores: SeedItems,
    *,
    clusters: Clusters | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean over seeds of one round's macro averages, with its interval.

    Over images, and over seeds if there are several. Raises `ValueError` for a round without
    a seed, or benchmarks or items that differ between seeds.
    """
    if not scores:
        raise ValueError("a round needs the scores of at least one seed")
    table = score_table(list(scores.values()), clusters)
    draws = ImageDraws(table.counts, resamples=resamples, seed=seed)
    sides = [(1.0, range(len(scores)))]
    return interval_of(table, sides, draws, confidence=confidence, seed=seed)


def paired_difference(
    before: Scores,
    after: Scores,
    *,
    clusters: Mapping[str, str] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return mean(after) - mean(before) over the same items, with its interval.

    `clusters` maps each item to its image; without it every item is its own. Raises
    `ValueError` when the two do not hold the same items.
    """
    return macro_difference(
        {"": before},
        {"": after},
        clusters=None if clusters is None else {"": clusters},
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def macro_difference(
    before: BenchmarkItems,
    after: BenchmarkItems,
    *,
    clusters: Clusters | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the difference of two models' macro averages, with its interval over images.

    `before` and `after` map benchmark -> item -> score. `clusters` maps benchmark -> item ->
    image; an image that several benchmarks ask about is drawn for all of them at once. Raises
    `ValueError` when benchmarks or items differ, or a benchmark is empty.
    """
    return difference_over_seeds(
        {0: before},
        {0: after},
        clusters=clusters,
        confidence=confidence,
        resamples=resamples,
        seed=seed,
    )


def difference_over_seeds(
    before: SeedItems,
    after: SeedItems,
    *,
    clusters: Clusters | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
    seed_sd: float = 0.0,
) -> Interval:
    """Return the difference of two rounds' mean macro averages, over seeds *and* images.

    `before` and `after` map a training's seed -> benchmark -> item -> score, all over the same
    items. The two rounds' seeds are not paired, and their spread is taken to be one: that keeps
    the most degrees of freedom, and is careful where equal seeds have something in common. Either
    round may have one seed as long as the other has more. With one each, the interval is over
    images alone, widened by `seed_sd` if that is known from elsewhere (the standard deviation
    of the macro score between seeds, in score units).
    Raises `ValueError` for a round without a seed, or differing benchmarks or items.
    """
    if not before or not after:
        raise ValueError("a round needs the scores of at least one seed")
    table = score_table([*before.values(), *after.values()], clusters)
    rows = range(len(before) + len(after))
    draws = ImageDraws(table.counts, resamples=resamples, seed=seed)
    return interval_of(
        table,
        [(-1.0, rows[: len(before)]), (1.0, rows[len(before) :])],
        draws,
        confidence=confidence,
        seed=seed,
        seed_sd=seed_sd,
    )


def paired_difference_over_seeds(
    pairs: Sequence[tuple[Scores, Scores]],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean difference of pairs of trainings that share more than their seed.

    For arms that share one base: each pair holds before and after of one seed on the same
    items, and what both owe to that base cancels. Raises `ValueError` for fewer than two seeds or
    differing items.
    """
    if len(pairs) < 2:
        raise ValueError("seeds need at least two pairs; use paired_difference for one")
    for before, after in pairs:
        score_table([{"": before}, {"": after}], None)  # raises if the two differ
    table = score_table(
        [{"": {item: after[item] - before[item] for item in before}} for before, after in pairs],
        None,
    )
    draws = ImageDraws(table.counts, resamples=resamples, seed=seed)
    return interval_of(table, [(1.0, range(len(pairs)))], draws, confidence=confidence, seed=seed)


def seed_spread(rounds: Sequence[SeedItems], *, clusters: Clusters | None = None) -> float | None:
    """Return the macro score's standard deviation between seeds, pooled over rounds.

    What chance answers to the same images make of it is taken out, so it may be 0. `None` where
    no round has two seeds.
    """
    rows = []
    models: list[BenchmarkItems] = []
    for held in rounds:
        rows.append(range(len(models), len(models) + len(held)))
        models += held.values()
    variance, _, freedom = seed_variance(score_table(models, clusters), rows)
    return math.sqrt(variance) if freedom else None
