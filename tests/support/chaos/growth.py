"""Whether what a process takes grows with its work. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Slope:
    """`growth` is the last third's mean over the middle third's, less one; the first third, in
    which caches and pools fill, is left out."""

    growth: float
    allowed: float

    @property
    def flat(self) -> bool:
        """Whether it does not grow."""
        return self.growth <= self.allowed


def slope(values: Sequence[float], *, allowed: float) -> Slope:
    """Of values measured at equal distances; needs six of them."""
    if len(values) < 6:
        raise ValueError(f"{len(values)} values say nothing: measure at least six")
    third = len(values) // 3
    middle, last = values[third : 2 * third], values[-third:]
    before = sum(middle) / len(middle)
    return Slope(growth=(sum(last) / len(last)) / before - 1 if before else 0.0, allowed=allowed)
