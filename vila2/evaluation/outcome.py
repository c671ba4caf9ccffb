"""One benchmark item's outcome. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Outcome:
    """One item's answer and score.

    `item` is unique within its `benchmark`; `kind` names the sort of question. `score` is finite
    and not negative, in [0, 1] for every metric but CIDEr, which may exceed 1. `image` names
    the image that was asked about, which several items may share; empty if each item has an
    image of its own. `metric` is what it was scored by, `read` the answer as that metric
    understood it where it chooses (`yes`, `no`, the letter of an option; empty: not understood),
    and `group` names the question that several items ask in different ways.
    """

    item: str
    benchmark: str
    kind: str
    score: float
    answer: str
    expected: str
    image: str = ""
    metric: str = ""
    read: str = ""
    group: str = ""

    def __post_init__(self) -> None:
        if not self.item or not self.benchmark:
            raise ValueError("an outcome needs the names of its item and its benchmark")
        if not math.isfinite(self.score) or self.score < 0:
            raise ValueError(
                f"{self.benchmark}/{self.item}: score {self.score} is not a finite number >= 0"
            )
