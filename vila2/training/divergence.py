"""Divergence detection: a loss that is not finite, or that rose and stays high. Pure."""

from __future__ import annotations

import math
from collections import deque
from statistics import median

# A loss this many times its recent median, for this many steps in a row, does not recover.
_FACTOR = 3.0
_STEPS = 20
_MEMORY = 200


class Diverged(RuntimeError):
    """The loss is not a number, or has exploded; the last good checkpoint is kept."""


class LossGuard:
    """Checks every step's loss of one stage; raises `Diverged` if the training must stop."""

    def __init__(self, stage: str) -> None:
        self._stage = stage
        self._recent: deque[float] = deque(maxlen=_MEMORY)
        self._high = 0

    def check(self, loss: float, norm: float) -> None:
        """Check a step's mean loss (nats per token) and gradient norm before the update."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise Diverged(
                f"stage {self._stage}: the loss is {loss} and its gradient's norm {norm}; lower "
                "`lr` in the recipe. The last good checkpoint is kept."
            )
        usual = median(self._recent) if len(self._recent) > _STEPS else math.inf
        if loss > _FACTOR * usual:
            self._high += 1
        else:
            self._high = 0
            self._recent.append(loss)
        if self._high >= _STEPS:
            raise Diverged(
                f"stage {self._stage}: the loss was {usual:.3g} and has been above "
                f"{_FACTOR:g} times that for {_STEPS} steps, last {loss:.3g}; lower `lr` in the "
                "recipe. The last good checkpoint is kept."
            )
