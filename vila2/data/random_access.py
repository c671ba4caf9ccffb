"""Random access to the samples of a shard, for shuffled training.

A shard's index has the offset of each image in its tar. It is built once, by reading the whole tar,
and kept in a cache folder.
"""

from __future__ import annotations

import hashlib
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
from vila2.schemas.stored import Stored
from vila2.system.files import write_atomically


def index_of(shard: Path, cache: Path) -> Path:
    """Return the index file of a shard: `shard` itself if it is one, else built in `cache`."""
    if shard.name.endswith(SUFFIX):
        return shard
    told = shard.stat()
    path = cache / f"{shard.stem}-{told.st_size}-{told.st_mtime_ns}{SUFFIX}"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        # Atomic, since several jobs may open the shard at once.
        write_atomically(path, encode_index(index_shard(shard)))
    return path


def shard_size(shard: Path, cache: Path) -> int:
    """Return the number of samples of a shard."""
    return int(pq.read_metadata(index_of(shard, cache)).num_rows)


def image_at(shard: Path, offset: int, size: int) -> bytes:
    """An encoded image of a shard, by its place in the tar; raises `ShardError` if it is cut."""
    path = tar_beside(shard) if shard.name.endswith(SUFFIX) else shard
    with path.open("rb") as tar:
        tar.seek(offset)
        data = tar.read(size)
    if len(data) < size:
        raise ShardError(f"{path.name} ends at byte {offset + len(data)}", fix="Restore the shard")
    return data


class OpenShard:
    """A shard with its texts in memory and its images on disk; safe for concurrent reads.

    `stored` names it in messages. The file is closed with the last reference, so running reads are
    not interrupted.
    """

    def __init__(self, shard: Path, cache: Path, stored: Stored | None = None) -> None:
        self.rows = [IndexRow(**row) for row in decode_index(index_of(shard, cache))]
        self._path = tar_beside(shard) if shard.name.endswith(SUFFIX) else shard
        self._what = self._path.name if stored is None else stored.what
        self._fix = "Fetch the shard again"
        if stored is not None:
            self._fix = f"Restore it from a backup: deploy/restore.sh BACKUP {stored.restore}"
        self._handle = os.open(self._path, os.O_RDONLY)
        weakref.finalize(self, os.close, self._handle)

    def __len__(self) -> int:
        return len(self.rows)

    def text(self, row: int) -> Sample:
        """A sample without its image."""
        return sample_of(self.rows[row], b"")

    def image(self, row: int) -> bytes:
        """A sample's encoded image; raises `ShardError` if the tar is cut or was changed."""
        held = self.rows[row]
        data = os.pread(self._handle, held.size, held.offset)
        if len(data) < held.size:
            raise ShardError(
                f"{self._what} is damaged: it ends within sample {held.key}",
                field=held.key,
                fix=self._fix,
            )
        if hashlib.sha256(data).hexdigest() != held.sha256:
            raise ShardError(
                f"{self._what} is damaged: sample {held.key} has another image than was stored",
                field=held.key,
                fix=self._fix,
            )
        return data
