"""In which order samples are visited: a pure function of the seed and the step.

The sampler is stateless, so resuming needs only a number, and any two processes agree
on the order without communication. Shuffling is local at scale, to keep few shards open at a time:
shards are permuted, and samples are shuffled within windows of neighbouring shards. Sources are
mixed evenly: every chunk of an epoch holds each source's share. If all shards of a source fit
into one window, as on a laptop, this is a full shuffle.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

# Steps whose samples are sorted by length together; more gives less padding and less randomness.
BLOCK = 8
# Visits that are shuffled across sources together.
CHUNK = 8192


class Visit(NamedTuple):
    """One sample on one of its passes: where it is, and the pass's number (0, 1, ...).

    With a fractional repeat a pass may be skipped: numbers rise, but not always by one.
    """

    source: int
    shard: int
    row: int
    number: int


class SourceOrder:
    """One source's samples in the order of a pass; position by position, without a list of all."""

    def __init__(self, sizes: Sequence[int], *, seed: int, source: int, window: int) -> None:
        self.size = sum(sizes)
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._seed, self._source, self._window = seed, source, window
        self._shards = lru_cache(maxsize=4)(self._permuted)
        # All windows that one chunk of visits reaches into are kept.
        reach = CHUNK * len(sizes) // max(1, self.size * window) + 3
        self._shuffled = lru_cache(maxsize=reach)(self._shuffle)

    def at(self, number: int, position: int) -> tuple[int, int]:
        """(shard, row) at a position of pass `number`."""
        _, ends = self._shards(number)
        window = bisect_right(ends, position)
        first = ends[window - 1] if window else 0
        return self._shuffled(number, window)[position - first]

    def _permuted(self, number: int) -> tuple[np.ndarray, list[int]]:
        """Shards of a pass in order, and the position at which each window ends."""
        order = np.random.default_rng([self._seed, self._source, number]).permutation(
            len(self._sizes)
        )
        starts = np.arange(0, len(order), self._window)
        return order, np.add.reduceat(self._sizes[order], starts).cumsum().tolist()

    def _shuffle(self, number: int, window: int) -> list[tuple[int, int]]:
        order, _ = self._shards(number)
        shards = order[window * self._window : (window + 1) * self._window]
        rows = np.concatenate(
            [np.stack([np.full(n, s), np.arange(n)], 1) for s in shards if (n := self._sizes[s])]
        )
        generator = np.random.default_rng([self._seed, self._source, number, window])
        return [(shard, row) for shard, row in generator.permutation(rows).tolist()]


class Order:
    """The endless order of visits over several sources, each repeated as its weight says.

    `sizes` are the samples of each source's shards.
    """

    def __init__(
        self,
        sizes: Sequence[Sequence[int]],
        repeats: Sequence[float],
        *,
        seed: int,
        window: int = 16,
    ) -> None:
        self._sources = [
            SourceOrder(shards, seed=seed, source=number, window=window)
            for number, shards in enumerate(sizes)
        ]
        if not any(source.size for source in self._sources):
            raise ValueError("no samples to train on: every source is empty")
        self._repeats, self._seed = list(repeats), seed
        self._counts = np.array(
            [
                int(repeat) * source.size + round(repeat % 1.0 * source.size)
                for source, repeat in zip(self._sources, repeats, strict=True)
            ],
            dtype=np.int64,
        )
        self.epoch_size = int(self._counts.sum())
        if not self.epoch_size:
            raise ValueError("an epoch has no visit: raise `repeat` of the sources, or add data")
        chunks = math.ceil(self.epoch_size / CHUNK)
        # Each source's share of the chunks before every chunk: rows (chunk, source).
        self._shares = self._counts[None, :] * np.arange(chunks + 1)[:, None] // chunks
        self._chunk_ends = self._shares[1:].sum(1).tolist()
        self._mixed = lru_cache(maxsize=2)(self._mix)

    def visits(self, start: int, count: int) -> list[Visit]:
        """Visits number `start` .. `start + count` of the endless order."""
        return [self._visit(position) for position in range(start, start + count)]

    def _visit(self, position: int) -> Visit:
        epoch, offset = divmod(position, self.epoch_size)
        chunk = bisect_right(self._chunk_ends, offset)
        first = self._chunk_ends[chunk - 1] if chunk else 0
        source, place = self._mixed(epoch, chunk)[offset - first]
        turn, within = divmod(place, self._sources[source].size)
        # Other samples make up the broken pass of each epoch, since its number is another.
        number = epoch * math.ceil(self._repeats[source]) + turn
        shard, row = self._sources[source].at(number, within)
        return Visit(source, shard, row, number)

    def _mix(self, epoch: int, chunk: int) -> list[tuple[int, int]]:
        """(source, position in the source's epoch) of a chunk's visits, shuffled."""
        rows = np.concatenate(
            [
                np.stack([np.full(end - begin, source), np.arange(begin, end)], 1)
                for source, (begin, end) in enumerate(
                    zip(self._shares[chunk], self._shares[chunk + 1], strict=True)
                )
            ]
        )
        mixed = np.random.default_rng([self._seed, epoch, chunk]).permutation(rows)
        return [(source, place) for source, place in mixed.tolist()]


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
