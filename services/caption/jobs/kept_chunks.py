"""Finished chunks of a shard, stored until the shard is committed.

Each chunk's rows are a separate object, so a worker that is killed loses one chunk, not a shard.
They are looked up by the shard's digest and the chunk's first sample, so any worker can reuse them.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence

from services.chassis.storage.objects import ObjectStore
from vila2.data.layers import CaptionRow, decode_layer_shard, encode_layer_shard
from vila2.data.sample import Sample

# A chunk that took less time is not stored: captioning it again is as fast.
_WORTH_KEEPING_SECONDS = 2.0


def chunks_prefix(layer: str) -> str:
    """Storage for the finished chunks of a layer's shards."""
    return f"layers/{layer}/parts"


class KeptChunks:
    """The chunks of one shard of a layer; safe for concurrent use."""

    def __init__(self, objects: ObjectStore, *, layer: str, shard: int, digest: str) -> None:
        self._objects = objects
        self._prefix = f"{chunks_prefix(layer)}/{shard:06d}-{digest[:12]}-"
        self._kept: set[str] = set()
        self._began = time.monotonic()

    def recall(self, start: int, chunk: Sequence[Sample]) -> list[CaptionRow] | None:
        """The chunk's rows if an earlier attempt at the shard stored them, else `None`."""
        key = self._key(start)
        try:
            rows = decode_layer_shard(self._objects.get(key))
        except KeyError:
            return None
        if [(row.key, row.sha256) for row in rows] != [(s.key, s.sha256) for s in chunk]:
            return None
        self._kept.add(key)
        return rows

    def keep(self, start: int, rows: Sequence[CaptionRow]) -> None:
        """Store a finished chunk; `start` is the number of its first sample in the shard."""
        if time.monotonic() - self._began > _WORTH_KEEPING_SECONDS:
            key = self._key(start)
            self._objects.put(key, encode_layer_shard(rows)[0])
            self._kept.add(key)

    def clear(self) -> None:
        """Delete the chunks once the shard is committed."""
        for key in self._kept:
            with contextlib.suppress(KeyError):
                self._objects.delete(key)

    def _key(self, start: int) -> str:
        return f"{self._prefix}{start:06d}.parquet"
