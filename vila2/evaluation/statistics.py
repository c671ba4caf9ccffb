"""Bootstrap intervals for scores and for differences between two models.

The percentile bootstrap (Efron & Tibshirani, *An Introduction to the Bootstrap*, 1993, chapter
13), paired over items when two models answered the same ones (Koehn, *Statistical Significance
Tests for Machine Translation Evaluation*, EMNLP 2004). Where several items share a picture, whole
pictures are resampled, since answers about one picture rise and fall together.

What an interval covers: the choice of items (and of seeds, in `paired_difference_over_seeds`).
One training run's luck is *not* covered by any interval over items. Percentile intervals are
slightly too narrow for few items, and have no width when all scores are equal.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Scores = Mapping[str, float]
_CELLS_PER_CHUNK = 2_000_000  # weights held at once: 16 MB, whatever the number of items


@dataclass(frozen=True, slots=True)
class Interval:
    """An observed value (`mid`) and the bounds of its bootstrap interval."""

    low: float
    mid: float
    high: float


def mean_interval(
    scores: Sequence[float],
    *,
    clusters: Sequence[str] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean of `scores` with its percentile bootstrap interval.

    `clusters` names the cluster (picture) of each score in turn; clusters are then resampled
    whole. Raises `ValueError` for no scores, scores that are not finite, or a bad option.
    """
    if clusters is not None and len(clusters) != len(scores):
        raise ValueError(f"{len(scores)} scores but {len(clusters)} clusters")
    items = [str(index) for index in range(len(scores))]
    after = {"": dict(zip(items, scores, strict=True))}
    before = {"": dict.fromkeys(items, 0.0)}
    grouped = None if clusters is None else {"": dict(zip(items, clusters, strict=True))}
    return macro_difference(
        before, after, clusters=grouped, confidence=confidence, resamples=resamples, seed=seed
    )


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

    `clusters` maps each item to its picture; without it every item is its own. Raises
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
    before: Mapping[str, Scores],
    after: Mapping[str, Scores],
    *,
    clusters: Mapping[str, Mapping[str, str]] | None = None,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the difference of macro averages (every benchmark counts alike), with its interval.

    `before` and `after` map benchmark -> item -> score. Items are resampled within each
    benchmark. `clusters` maps benchmark -> item -> picture; pictures are then resampled whole, and
    a picture that several benchmarks ask about is drawn for all of them at once. Raises
    `ValueError` when benchmarks or items differ, or a benchmark is empty.
    """
    _same(before, after, what="benchmarks")
    if not before:
        raise ValueError("there is no benchmark to compare")
    benchmarks = sorted(before)
    rows: dict[tuple[str, str], int] = {}
    entries: list[tuple[int, int, float]] = []  # row of the cluster, benchmark, difference
    for column, benchmark in enumerate(benchmarks):
        items = sorted(before[benchmark])
        _same(before[benchmark], after[benchmark], what=_items_of(benchmark))
        if not items:
            raise ValueError(f"{_items_of(benchmark)}: there are none")
        for item in items:
            # Without clusters, equal item names in two benchmarks are still different items.
            key = (
                (benchmark, item) if clusters is None else ("", _cluster(clusters, benchmark, item))
            )
            row = rows.setdefault(key, len(rows))
            entries.append((row, column, after[benchmark][item] - before[benchmark][item]))
    sums = np.zeros((len(rows), len(benchmarks)))
    counts = np.zeros_like(sums)
    row_index, column_index, differences = (np.array(part) for part in zip(*entries, strict=True))
    np.add.at(sums, (row_index, column_index), differences)
    np.add.at(counts, (row_index, column_index), 1.0)
    drawn = _resampled_macro(sums, counts, resamples=resamples, seed=seed)
    observed = float((sums.sum(0) / counts.sum(0)).mean())
    return _percentiles(drawn, observed=observed, confidence=confidence)


def ratio_intervals(
    parts: Sequence[Sequence[tuple[float, float]]],
    *,
    clusters: Sequence[str],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Return ratios of sums over items, each with its interval.

    `parts` has a row for each item, with what it adds above and below the line of each ratio;
    `clusters` names each item's picture. All ratios see the same resamples. One over nothing is 0.
    Raises `ValueError` for no items, or clusters of another number.
    """
    if not parts or len(parts) != len(clusters):
        raise ValueError(f"{len(parts)} items but {len(clusters)} clusters; one for each is needed")
    table = np.array(parts, dtype=np.float64)  # (items, ratios, 2)
    names, rows = np.unique(np.array(clusters, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), *table.shape[1:]))
    np.add.at(sums, rows.ravel(), table)
    rng = np.random.default_rng(seed)
    flat = sums.reshape(len(names), -1)
    drawn = np.concatenate(
        [_weights(rng, count, len(names)) @ flat for count in _chunks(resamples, width=len(names))]
    ).reshape(-1, *table.shape[1:])
    observed = _ratio(table.sum(0))
    ratios = _ratio(drawn)
    return [
        _percentiles(ratios[:, column], observed=float(observed[column]), confidence=confidence)
        for column in range(table.shape[1])
    ]


def _ratio(sums: Floats) -> Floats:
    above, below = sums[..., 0], sums[..., 1]
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)


def paired_difference_over_seeds(
    pairs: Sequence[tuple[Scores, Scores]],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Return the mean difference over repeated trainings, with an interval over seeds *and* items.

    Each pair holds before and after of one seed on the same items. A resample draws seeds, then
    items; the drawn items are the same for every drawn seed, because the real items are (drawing
    them apart per seed would understate their share of the noise). With fewer than about five
    seeds the interval is too narrow: read it as a lower bound of the uncertainty.
    Raises `ValueError` for fewer than two seeds or differing items.
    """
    if len(pairs) < 2:
        raise ValueError("seeds need at least two pairs; use paired_difference for one")
    items = sorted(pairs[0][0])
    if not items:
        raise ValueError("there are no items to compare")
    for before, after in pairs:
        _same(pairs[0][0], before, what="items of the seeds")
        _same(before, after, what="items")
    table = np.array([[after[i] - before[i] for i in items] for before, after in pairs])
    rng = np.random.default_rng(seed)
    means = []
    for count in _chunks(resamples, width=len(items)):
        seed_weights = _weights(rng, count, len(pairs))
        item_weights = _weights(rng, count, len(items))
        means.append(((seed_weights @ table) * item_weights).sum(1) / table.size)
    return _percentiles(np.concatenate(means), observed=float(table.mean()), confidence=confidence)


def _resampled_macro(sums: Floats, counts: Floats, *, resamples: int, seed: int) -> Floats:
    """Resample rows (clusters) and return each resample's mean of per-benchmark means.

    Rows are drawn among those that occur in the same set of benchmarks, so that every resample
    has every benchmark, and disjoint benchmarks are resampled each on its own.
    """
    rng = np.random.default_rng(seed)
    _, stratum = np.unique(counts > 0, axis=0, return_inverse=True)
    strata = [np.flatnonzero(stratum.ravel() == s) for s in range(int(stratum.max()) + 1)]
    means = []
    for count in _chunks(resamples, width=len(sums)):
        totals = np.zeros((count, sums.shape[1]))
        sizes = np.zeros_like(totals)
        for rows in strata:
            weights = _weights(rng, count, len(rows))
            totals += weights @ sums[rows]
            sizes += weights @ counts[rows]
        means.append((totals / sizes).mean(1))
    return np.concatenate(means)


def _weights(rng: np.random.Generator, resamples: int, size: int) -> Floats:
    """Return (resamples, size): how often each of `size` things is drawn, `size` draws a row."""
    drawn = rng.integers(0, size, (resamples, size), dtype=np.int64)
    drawn += np.arange(resamples)[:, None] * size
    flat = np.bincount(drawn.ravel(), minlength=resamples * size)
    return flat.reshape(resamples, size).astype(np.float64)


def _chunks(resamples: int, *, width: int) -> list[int]:
    if resamples < 100:
        raise ValueError(f"resamples is {resamples}; an interval needs at least 100")
    size = max(1, min(resamples, _CELLS_PER_CHUNK // width))
    full, rest = divmod(resamples, size)
    return [size] * full + ([rest] if rest else [])


def _percentiles(drawn: Floats, *, observed: float, confidence: float) -> Interval:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it lies between 0 and 1")
    if not np.isfinite(observed):
        raise ValueError("a score is not a finite number")
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(low=float(low), mid=observed, high=float(high))


def _items_of(benchmark: str) -> str:
    return f"items of benchmark {benchmark!r}" if benchmark else "items"


def _cluster(clusters: Mapping[str, Mapping[str, str]], benchmark: str, item: str) -> str:
    try:
        return clusters[benchmark][item]
    except KeyError:
        raise ValueError(f"{_items_of(benchmark)}: {item!r} has no cluster") from None


def _same(before: Collection[str], after: Collection[str], *, what: str) -> None:
    """Raise `ValueError` naming a few of the differences when two sets of names differ."""
    missing, added = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    if missing or added:
        raise ValueError(
            f"the {what} differ, so they cannot be paired: {len(missing)} only before"
            f" {missing[:3]}, {len(added)} only after {added[:3]}; score both on the same items"
        )
