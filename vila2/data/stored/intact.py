"""Checks stored bytes against their digests before anything is made of them.

Disks, caches and hands change bytes. What was read without a check would train a model, or go out
under the old digest, so whoever reads a shard, an index or captions reads them through here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from vila2.data.errors import Damaged
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.schemas.stored import Stored


def check_bytes(data: bytes, stored: Stored) -> bytes:
    """`data` itself; raises `Damaged` if it is not what was stored."""
    _compare(hashlib.sha256(data).hexdigest(), stored)
    return data


def check_file(path: Path, stored: Stored) -> None:
    """Raise `Damaged` if a file is missing or not what was stored; reads it once."""
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except (FileNotFoundError, IsADirectoryError) as error:
        raise missing(stored) from error
    _compare(digest, stored)


def missing(stored: Stored) -> Damaged:
    """The error for an object that is not in the store."""
    return Damaged(stored, "it is not in the object store")


def read_stored(path: str, known: Mapping[str, Stored]) -> Iterator[Sample]:
    """A shard's samples, checked first if its digest is known; raises `Damaged` or `ShardError`."""
    if path in known:
        check_file(Path(path), known[path])
    yield from read_shard(Path(path))


def _compare(digest: str, stored: Stored) -> None:
    if not stored.sha256 or not digest.startswith(stored.sha256):
        raise Damaged(
            stored, f"its SHA-256 begins with {digest[:12]}, not with {stored.sha256[:12]}"
        )
