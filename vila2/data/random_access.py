"""Samples of a shard in any order, without reading the others: what shuffled visits need.

A shard's index says where each image lies in its tar. The index is made once, by reading the tar
through, and kept in a cache folder for whoever opens the shard next.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path

import pyarrow.parquet as pq

from vila2.data.errors import ShardError
from vila2.data.index import (
    SUFFIX,
    IndexRow,
    decode_index,
    encode_index,
    sample_of,
    tar_beside,
)
from vila2.data.sample import Sample
from vila2.data.shards import index_shard
from vila2.system.files import write_atomically


def index_of(shard: Path, cache: Path) -> Path:
    """The index file of a shard: the shard itself where it is one, else made in `cache`."""
    if shard.name.endswith(SUFFIX):
        return shard
    told = shard.stat()
    path = cache / f"{shard.stem}-{told.st_size}-{told.st_mtime_ns}{SUFFIX}"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Several jobs may open the shard at once.
        write_atomically(path, encode_index(index_shard(shard)))
    return path


def shard_size(shard: Path, cache: Path) -> int:
    """The number of its samples."""
    return int(pq.read_metadata(index_of(shard, cache)).num_rows)


class OpenShard:
    """A shard's texts in memory and its images in reach; safe for concurrent reads.

    The file is closed with the last reference: who still reads is not cut off.
    """

    def __init__(self, shard: Path, cache: Path) -> None:
        self.rows = [IndexRow(**row) for row in decode_index(index_of(shard, cache))]
        self._path = tar_beside(shard) if shard.name.endswith(SUFFIX) else shard
        self._handle = os.open(self._path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def __len__(self) -> int:
        return len(self.rows)

    def text(self, row: int) -> Sample:
        """A sample without its image."""
        return sample_of(self.rows[row], b"")

    def image(self, row: int) -> bytes:
        """A sample's encoded image; raises `ShardError` where the tar is cut."""
        held = self.rows[row]
        data = os.pread(self._handle, held.size, held.offset)
        if len(data) < held.size:
            raise ShardError(
                f"{self._path.name} ends within sample {held.key}",
                field=held.key,
                fix="Fetch the shard again",
            )
        return data
