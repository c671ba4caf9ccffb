"""Resampling of images and the spread of seeds: what the intervals of `statistics` rest on.

A model's scores are a table of clusters (images) by benchmarks. The statistic is the mean over
benchmarks of each benchmark's mean. Two things make it uncertain:

- *which images were asked*: clusters are drawn with replacement, one fewer than there are, and
  weighted up, so that the resamples' variance has no bias (Rao & Wu, JASA 1988, section 2);
- *which seed was trained*: two to five values have no shape to resample. Their variance is
  estimated beyond what the images explain (crossed random effects, Searle, Casella & McCulloch,
  *Variance Components*, 1992, chapter 4) and added as a normal deviate.

Quantiles are then stretched about the estimate by t / z at Satterthwaite's degrees of freedom,
since a variance that comes of few images or few seeds is itself uncertain. If both are many,
this is the plain percentile interval.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scores = Mapping[str, float]
BenchmarkItems = Mapping[str, Scores]
Clusters = Mapping[str, Mapping[str, str]]
_CELLS_PER_CHUNK = 2_000_000  # weights held at once: 16 MB, whatever the number of images


@dataclass(frozen=True, slots=True)
class Interval:
    """An observed value (`mid`) and the bounds of its bootstrap interval."""

    low: float
    mid: float
    high: float


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Scores of several models on the same items, added up by cluster.

    `sums` is (models, clusters, benchmarks), `counts` (clusters, benchmarks).
    """

    sums: Floats
    counts: Floats

    def macro(self) -> Floats:
        """Each model's mean over benchmarks of the benchmark's mean, (models,)."""
        means: Floats = (self.sums.sum(1) / self.counts.sum(0)).mean(1)
        return means

    def influence(self) -> Floats:
        """How far each cluster moves each model's macro score, (models, clusters).

        The linear term of the ratio of sums; a row adds up to zero.
        """
        sizes = self.counts.sum(0)
        means = self.sums.sum(1) / sizes
        moved: Floats = ((self.sums - means[:, None] * self.counts) / sizes).mean(2)
        return moved


def score_table(models: Sequence[BenchmarkItems], clusters: Clusters | None) -> ScoreTable:
    """Build the table of the scores of `models`; all must have the same benchmarks and items.

    Without `clusters` every item is its own, and equal names in two benchmarks are two items. A
    cluster that several benchmarks share is one row. Raises `ValueError` naming what differs.
    """
    first = models[0]
    for other in models[1:]:
        same_names(first, other, what="benchmarks")
    if not first:
        raise ValueError("there is no benchmark to compare")
    rows: dict[tuple[str, str], int] = {}
    places: list[tuple[int, int]] = []
    scores: list[list[float]] = []
    for column, benchmark in enumerate(sorted(first)):
        items = sorted(first[benchmark])
        for other in models[1:]:
            same_names(first[benchmark], other[benchmark], what=items_of(benchmark))
        if not items:
            raise ValueError(f"{items_of(benchmark)}: there are none")
        for item in items:
            key = (
                (benchmark, item) if clusters is None else ("", _cluster(clusters, benchmark, item))
            )
            places.append((rows.setdefault(key, len(rows)), column))
            scores.append([model[benchmark][item] for model in models])
    row, column = np.array(places).T
    sums = np.zeros((len(models), len(rows), len(first)))
    counts = np.zeros(sums.shape[1:])
    for of_model, added in zip(sums, np.array(scores, dtype=np.float64).T, strict=True):
        np.add.at(of_model, (row, column), added)
    np.add.at(counts, (row, column), 1.0)
    return ScoreTable(sums, counts)


class ImageDraws:
    """Resamples of the clusters of a table, the same whenever they are drawn from one seed.

    Clusters are drawn among those that occur in the same set of benchmarks, so that every
    resample has every benchmark, and disjoint benchmarks are resampled each on its own.
    """

    def __init__(self, counts: Floats, *, resamples: int, seed: int) -> None:
        if resamples < 100:
            raise ValueError(f"resamples is {resamples}; an interval needs at least 100")
        self.counts, self.resamples, self._seed = counts, resamples, seed
        _, stratum = np.unique(counts > 0, axis=0, return_inverse=True)
        self.strata = [np.flatnonzero(stratum.ravel() == s) for s in range(int(stratum.max()) + 1)]
        small = resamples * len(counts) <= _CELLS_PER_CHUNK
        self._kept = list(self._chunks()) if small else None

    def macros(self, sums: Floats) -> Floats:
        """The macro average of `sums` (clusters, benchmarks) in every resample, (resamples,)."""
        means = [
            ((weights @ sums) / (weights @ self.counts)).mean(1) for weights in self._weights()
        ]
        return np.concatenate(means)

    def totals(self, sums: Floats) -> Floats:
        """What `sums` (clusters, columns) add up to in every resample, (resamples, columns)."""
        return np.concatenate([weights @ sums for weights in self._weights()])

    def _weights(self) -> Iterable[Floats]:
        return self._kept if self._kept is not None else self._chunks()

    def variance(self, influence: Floats) -> tuple[float, float]:
        """Variance of the macro average over the choice of images, and its degrees of freedom."""
        terms = [
            (len(rows) / (len(rows) - 1) * float(((u - u.mean()) ** 2).sum()), len(rows) - 1)
            for rows in self.strata
            if len(rows) > 1
            for u in [influence[rows]]
        ]
        total = sum(term for term, _ in terms)
        spread = sum(term**2 / freedom for term, freedom in terms)
        return total, (total**2 / spread if spread else float(len(self.counts)))

    def _chunks(self) -> Iterator[Floats]:
        rng = np.random.default_rng(self._seed)
        size = max(1, min(self.resamples, _CELLS_PER_CHUNK // len(self.counts)))
        for begin in range(0, self.resamples, size):
            count = min(size, self.resamples - begin)
            weights = np.empty((count, len(self.counts)))
            for rows in self.strata:
                weights[:, rows] = _weights(rng, count, len(rows))
            yield weights


def seed_variance(table: ScoreTable, sides: Sequence[Sequence[int]]) -> tuple[float, float, int]:
    """Variance between trainings that differ in their seed only, pooled over `sides`.

    `sides` lists the rows (models) of each round. Returns the variance of one model's macro score
    beyond what chance answers to the same images explain (never below 0), that variance with
    them, and the degrees of freedom: how many seeds there are beyond one per side. (0, 0, 0) where
    no side has two.
    """
    influence, macro = table.influence(), table.macro()
    clusters = len(table.counts)
    whole = chance = 0.0
    freedom = 0
    for rows in sides:
        if len(rows) < 2:
            continue
        freedom += len(rows) - 1
        whole += float(((macro[rows] - macro[rows].mean()) ** 2).sum())
        apart = influence[rows] - influence[rows].mean(0)
        chance += clusters / max(1, clusters - 1) * float((apart**2).sum())
    if not freedom:
        return 0.0, 0.0, 0
    return max(0.0, whole - chance) / freedom, whole / freedom, freedom


def interval_of(
    table: ScoreTable,
    sides: Sequence[tuple[float, Sequence[int]]],
    draws: ImageDraws,
    *,
    confidence: float,
    seed: int,
    seed_sd: float = 0.0,
) -> Interval:
    """The interval of a sum of sides, each the mean macro score of its models times its sign.

    `sides` holds (sign, rows). `seed_sd` is the standard deviation of a macro score between seeds
    to assume if no side has two of them; measured ones take precedence.
    Raises `ValueError` for a confidence that is none, or scores that are not finite.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it lies between 0 and 1")
    if not np.isfinite(table.sums).all():
        raise ValueError("a score is not a finite number")
    # Each side's mean first: a round against its own copy then differs by exactly nothing.
    sums = sum(sign * table.sums[list(rows)].mean(0) for sign, rows in sides)
    combined = ScoreTable(np.asarray(sums)[None], table.counts)
    share = sum(1 / len(rows) for _, rows in sides)
    observed = float(combined.macro()[0])
    drawn = draws.macros(combined.sums[0])
    by_images, image_freedom = draws.variance(combined.influence()[0])
    beyond, whole, seed_freedom = seed_variance(table, [rows for _, rows in sides])
    by_seeds = share * (beyond if seed_freedom else seed_sd**2)
    if by_seeds:
        rng = np.random.default_rng([seed, 1])
        drawn = drawn + np.sqrt(by_seeds) * rng.standard_normal(len(drawn))
    doubt = by_images**2 / image_freedom
    if seed_freedom:
        doubt += (share * whole) ** 2 / seed_freedom
    freedom = (by_images + by_seeds) ** 2 / doubt if doubt else image_freedom
    tail = (1 - confidence) / 2
    stretch = _student_quantile(1 - tail, freedom) / NormalDist().inv_cdf(1 - tail)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(
        low=observed + stretch * (float(low) - observed),
        mid=observed,
        high=observed + stretch * (float(high) - observed),
    )


def same_names(before: Collection[str], after: Collection[str], *, what: str) -> None:
    """Raise `ValueError` naming a few of the differences when two sets of names differ."""
    missing, added = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    if missing or added:
        raise ValueError(
            f"the {what} differ, so they cannot be paired: {len(missing)} only before"
            f" {missing[:3]}, {len(added)} only after {added[:3]}; score both on the same items"
        )


def items_of(benchmark: str) -> str:
    """How an error names a benchmark's items."""
    return f"items of benchmark {benchmark!r}" if benchmark else "items"


def _weights(rng: np.random.Generator, resamples: int, size: int) -> Floats:
    """(resamples, size): the weight of each of `size` clusters, 1 on average.

    A lone cluster has nothing to be exchanged with, and keeps its weight.
    """
    if size == 1:
        return np.ones((resamples, 1))
    drawn = rng.integers(0, size, (resamples, size - 1), dtype=np.int64)
    drawn += np.arange(resamples)[:, None] * size
    flat = np.bincount(drawn.ravel(), minlength=resamples * size)
    weights: Floats = flat.reshape(resamples, size).astype(np.float64)
    weights *= size / (size - 1)
    return weights


def _student_quantile(probability: float, freedom: float) -> float:
    from scipy.special import stdtrit  # imported here: clients that only print reports lack it

    return float(stdtrit(max(1.0, freedom), probability))


def _cluster(clusters: Clusters, benchmark: str, item: str) -> str:
    try:
        return clusters[benchmark][item]
    except KeyError:
        raise ValueError(f"{items_of(benchmark)}: {item!r} has no cluster") from None
