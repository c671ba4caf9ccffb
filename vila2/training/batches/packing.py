"""Packing: samples of one step joined into rows, so that no token is padding. Pure.

A row is a list of whole samples laid end to end. Attention stays within a sample and positions
restart with each (see `vila2.training.objective`), so a packed step has the loss of a padded
one. Rows need not be full, since a row has the length of what is in it; what matters is that no row
is longer than memory allows and that all take about the same time.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence


def packed_rows(lengths: Sequence[int], *, capacity: int, multiple: int = 1) -> list[list[int]]:
    """Rows of positions into `lengths` (tokens), none longer than `capacity` tokens.

    As few rows as balanced filling allows, and a multiple of `multiple` if there are samples
    enough; the longest sample goes to the shortest row (Graham 1969), and a row that would
    overflow starts a new one. Raises `ValueError` for a sample that fits no row.
    """
    if not lengths:
        return []
    if max(lengths) > capacity:
        raise ValueError(
            f"a sample has {max(lengths)} tokens, a row {capacity}: raise `pack`, or lower the "
            "preset's max_length"
        )
    wanted = -(-sum(lengths) // capacity)
    while True:
        wanted = min(-(-wanted // multiple) * multiple, max(len(lengths), wanted))
        rows = _balanced(lengths, wanted)
        if all(sum(lengths[i] for i in row) <= capacity for row in rows):
            return [row for row in rows if row]
        wanted += 1


def within_budget(lengths: Sequence[int], *, budget: int) -> int:
    """How many of the first samples make up one step of at most `budget` tokens; at least one."""
    total = 0
    for count, length in enumerate(lengths):
        total += length
        if total > budget:
            return max(1, count)
    return len(lengths)


def _balanced(lengths: Sequence[int], count: int) -> list[list[int]]:
    heap = [(0, row) for row in range(count)]
    rows: list[list[int]] = [[] for _ in range(count)]
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        total, row = heapq.heappop(heap)
        rows[row].append(i)
        heapq.heappush(heap, (total + lengths[i], row))
    return rows
