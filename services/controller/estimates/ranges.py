"""Arithmetic on ranges: every low with every low, every high with every high. Pure.

The ends of a sum or a product are therefore what comes out if all uncertain quantities lie at
their favourable or unfavourable end at once. That is wider than an interval of the total would be,
and says so: nothing is known of how the parts depend on each other.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from vila2.api.estimates import Range

RANGES = (
    "low and high are not a confidence interval. low: the loop saturates as early as its patience "
    "allows, and every speed and length lies at the favourable end of what was seen or assumed; "
    "high: every round of the recipe is needed, and all lie at the other end. mid: every round, at "
    "middle speeds and lengths."
)
# Of the standard normal: the mean's interval holds in 95 % of samples, if these are not tiny.
_Z = 1.96


def exactly(value: float) -> Range:
    """A quantity that is known."""
    return Range(low=value, mid=value, high=value)


def plus(parts: Iterable[Range]) -> Range:
    """The sum."""
    held = list(parts)
    return Range(
        low=math.fsum(p.low for p in held),
        mid=math.fsum(p.mid for p in held),
        high=math.fsum(p.high for p in held),
    )


def times(left: Range, right: Range | float) -> Range:
    """The product with another quantity that is not negative, or with a number."""
    other = right if isinstance(right, Range) else exactly(right)
    return Range(low=left.low * other.low, mid=left.mid * other.mid, high=left.high * other.high)


def at_most(value: Range, limit: float) -> Range:
    """No end above a limit."""
    return Range(low=min(value.low, limit), mid=min(value.mid, limit), high=min(value.high, limit))


def perhaps(value: Range) -> Range:
    """Of something that may not come at all."""
    return Range(low=0.0, mid=value.mid, high=value.high)


def mean_of(values: Sequence[float]) -> Range:
    """The mean of a sample, with the 95 % interval of the mean (normal approximation).

    One value says nothing of its spread: its range is the value. Raises `ValueError` for none.
    """
    if not values:
        raise ValueError("there is nothing to take the mean of")
    mean = fmean(values)
    half = _Z * stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return Range(low=max(0.0, mean - half), mid=mean, high=mean + half)


def spread_of(values: Sequence[float], *, middle: float | None = None) -> Range:
    """The smallest and largest of what was seen, around their mean or another middle."""
    if not values:
        raise ValueError("there is nothing to take the spread of")
    mid = fmean(values) if middle is None else middle
    return Range(low=min(*values, mid), mid=mid, high=max(*values, mid))
