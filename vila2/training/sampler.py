"""In which order samples are visited: a pure function of the seed and the step.

Nothing is remembered between steps, so resuming needs the step number alone, and any two
processes agree on the order without talking.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Steps whose samples are sorted by length together; more gives less padding and less randomness.
BLOCK = 8


@dataclass(frozen=True, slots=True)
class Visit:
    """One sample on one of its passes: `source` and `index` say which, `number` counts passes.

    With a fractional repeat a pass may be skipped: numbers rise, but not always by one.
    """

    source: int
    index: int
    number: int


class Order:
    """The endless order of visits over several sources, each repeated as its weight says."""

    def __init__(self, sizes: Sequence[int], repeats: Sequence[float], *, seed: int) -> None:
        if not any(sizes):
            raise ValueError("no samples to train on: every source is empty")
        self._sizes = list(sizes)
        self._repeats = list(repeats)
        self._seed = seed
        self._epochs: dict[int, list[tuple[int, int, int]]] = {}
        self.epoch_size = len(self._epoch(0))
        if not self.epoch_size:
            raise ValueError("an epoch has no visit: raise `repeat` of the sources, or add data")

    def _epoch(self, epoch: int) -> list[tuple[int, int, int]]:
        cached = self._epochs.get(epoch)
        if cached is not None:
            return cached
        rng = np.random.default_rng([self._seed, epoch])
        entries: list[tuple[int, int, int]] = []
        for source, (size, repeat) in enumerate(zip(self._sizes, self._repeats, strict=True)):
            whole, part = divmod(repeat, 1.0)
            first = epoch * math.ceil(repeat)
            entries += [
                (source, i, first + turn) for turn in range(int(whole)) for i in range(size)
            ]
            # Different samples make up the broken pass of each epoch.
            extra = rng.permutation(size)[: round(part * size)]
            entries += [(source, int(i), first + int(whole)) for i in extra]
        order = rng.permutation(len(entries))
        shuffled = [entries[i] for i in order]
        self._epochs = {key: value for key, value in self._epochs.items() if key >= epoch - 1}
        self._epochs[epoch] = shuffled
        return shuffled

    def visits(self, start: int, count: int) -> list[Visit]:
        """Visits number `start` .. `start + count` of the endless order."""
        made = []
        for position in range(start, start + count):
            epoch, offset = divmod(position, self.epoch_size)
            made.append(Visit(*self._epoch(epoch)[offset]))
        return made


def batches_of_block(
    lengths: Sequence[int], *, batch_size: int, seed: int, block: int
) -> list[list[int]]:
    """Split a block's samples into batches of like length, in a seeded order.

    `lengths` are the samples' token counts. Returns lists of positions; every position is in
    exactly one batch.
    """
    by_length = sorted(range(len(lengths)), key=lambda i: (lengths[i], i))
    batches = [by_length[i : i + batch_size] for i in range(0, len(by_length), batch_size)]
    order = np.random.default_rng([seed, block]).permutation(len(batches))
    return [batches[i] for i in order]
