"""Intervals of ratios of sums, such as precision and F1, over resampled images.

A ratio is not a mean over items, so numerator and denominator are resampled together; the
resamples are those of `resampling`, which see an image with all its items or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vila2.evaluation.statistics.resampling import Floats, ImageDraws, Interval


def ratio_intervals(
    parts: Sequence[Sequence[tuple[float, float]]],
    *,
    clusters: Sequence[str],
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[Interval]:
    """Return ratios of sums over items, each with its percentile interval.

    `parts` has a row for each item: its share of each ratio's numerator and denominator;
    `clusters` names each item's image. All ratios see the same resamples. One over nothing is 0.
    Raises `ValueError` for no items, a different number of clusters, or a non-finite value.
    """
    if not parts or len(parts) != len(clusters):
        raise ValueError(f"{len(parts)} items but {len(clusters)} clusters; one for each is needed")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it lies between 0 and 1")
    table = np.array(parts, dtype=np.float64)  # (items, ratios, 2)
    if not np.isfinite(table).all():
        raise ValueError("a score is not a finite number")
    names, rows = np.unique(np.array(clusters, dtype=object).astype(str), return_inverse=True)
    sums = np.zeros((len(names), *table.shape[1:]))
    np.add.at(sums, rows.ravel(), table)
    draws = ImageDraws(np.ones((len(names), 1)), resamples=resamples, seed=seed)
    drawn = draws.totals(sums.reshape(len(names), -1)).reshape(-1, *table.shape[1:])
    tail = (1 - confidence) / 2
    low, high = np.quantile(_ratio(drawn), [tail, 1 - tail], axis=0)
    return [
        Interval(low=float(low[column]), mid=float(middle), high=float(high[column]))
        for column, middle in enumerate(_ratio(table.sum(0)))
    ]


def _ratio(sums: Floats) -> Floats:
    above, below = sums[..., 0], sums[..., 1]
    return np.divide(above, below, out=np.zeros_like(above), where=below != 0)
