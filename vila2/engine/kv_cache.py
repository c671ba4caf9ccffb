"""The KV cache of a running batch: one buffer per layer, a slot for each row, written in place.

Rows are right-aligned, so a step writes one column and attention reads one block. transformers' own
cache is copied in full for every token.
"""

from __future__ import annotations

from typing import Any

import torch

# Spare columns to allocate; a buffer that grows at least doubles.
_ROOM = 64


class Slots:
    """Buffers per layer (slots, heads, columns, head size); columns `first` to `end` are in use."""

    def __init__(self) -> None:
        self._buffers: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._first = self._end = 0

    def join(self, cache: Any, *, rows: int) -> None:
        """Append the rows of a filled cache after the first `rows` slots."""
        new = [(layer.keys, layer.values) for layer in cache.layers]
        count, _, columns, _ = new[0][0].shape
        if rows == 0:
            self._first = self._end = 0
        self._reserve(new[0], layers=len(new), rows=rows, count=rows + count, columns=columns)
        self._first = min(self._first, self._end - columns)
        for buffers, parts in zip(self._buffers, new, strict=True):
            for buffer, part in zip(buffers, parts, strict=True):
                buffer[rows : rows + count, :, self._end - columns : self._end] = part

    def move(self, source: int, target: int) -> None:
        """Copy one row over another."""
        for buffers in self._buffers:
            for buffer in buffers:
                used = buffer[:, :, self._first : self._end]
                used[target] = used[source]

    def trim(self, length: int) -> None:
        """Drop columns before the longest row's, whose length is `length`."""
        self._first = self._end - length

    def attention(self, lengths: torch.Tensor) -> torch.Tensor:
        """Mask (rows, columns) for the step after this one, given lengths (rows, 1) then."""
        columns = self._end + 1 - self._first
        back = torch.arange(columns, 0, -1, device=lengths.device)
        return (back[None, :] <= lengths).long()

    def cache(self, rows: int) -> Any:
        """A transformers cache over the first `rows` slots; a pass over it writes a new column."""
        if self._end == self._buffers[0][0].shape[2]:
            keys, values = self._buffers[0]
            self._reserve((keys[:0], values[:0]), layers=len(self._buffers), rows=rows,
                          count=rows, columns=0)  # fmt: skip
        column, self._end = self._end, self._end + 1
        layers = [
            _layer(buffers, rows, self._first, column, self._end) for buffers in self._buffers
        ]
        from transformers.cache_utils import Cache

        return Cache(layers=layers)

    def _reserve(
        self,
        like: tuple[torch.Tensor, torch.Tensor],
        *,
        layers: int,
        rows: int,
        count: int,
        columns: int,
    ) -> None:
        """Ensure `count` slots, at least `columns` columns in use, and room for one more."""
        used = self._end - self._first
        width = max(used, columns)
        held = self._buffers[0][0] if self._buffers else None
        if held is not None and held.shape[0] >= count and held.shape[2] > max(self._end, columns):
            if self._end < columns:
                if rows == 0:
                    self._first, self._end = 0, columns
                    return
            else:
                return
        slots = max(count, held.shape[0] if held is not None else 0)
        room = 2 * width + _ROOM
        made = []
        for number in range(layers):
            pair = []
            for kind in (0, 1):
                part = like[kind]
                buffer = part.new_zeros(slots, part.shape[1], room, part.shape[3])
                if rows:
                    old = self._buffers[number][kind][:rows, :, self._first : self._end]
                    buffer[:rows, :, width - used : width] = old
                pair.append(buffer)
            made.append((pair[0], pair[1]))
        self._buffers = made
        self._first, self._end = width - used, width


def _layer(
    buffers: tuple[torch.Tensor, torch.Tensor], rows: int, first: int, column: int, end: int
) -> Any:
    from transformers.cache_utils import DynamicLayer

    class InPlace(DynamicLayer):
        """Views of the buffers; the step's column is written in place."""

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any
        ) -> tuple[torch.Tensor, torch.Tensor]:
            """Keys and values (rows, heads, columns, head size) with the new column."""
            self.is_initialized = True
            for buffer, states in zip(buffers, (key_states, value_states), strict=True):
                buffer[:rows, :, column:end] = states
            self.keys, self.values = (buffer[:rows, :, first:end] for buffer in buffers)
            return self.keys, self.values

    layer = InPlace()
    layer.keys, layer.values = (buffer[:rows, :, first:column] for buffer in buffers)
    layer.is_initialized = True
    return layer
