"""Objects of shards, which versions of several teams can share.

Keys are content-addressed, so identical data is stored once. A writer first commits a row in
`shards` that refers to the key and then checks for the object; a deleter checks that no row refers
to it. Both hold the key's lock, so an object that was found cannot be deleted before its version is
ready.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.datasets.tables import ShardRow
from vila2.data.index import SUFFIX

_THREADS = 8


@dataclass(frozen=True, slots=True)
class NewShard:
    """A shard to be stored; `tar` is `None` if its tar stays in its source."""

    row: ShardRow
    index: bytes
    tar: Path | None = None


def index_key(version_id: int, number: int, index: bytes) -> str:
    """Object key of a shard's index, which ends in its digest: so a reader can check it."""
    digest = hashlib.sha256(index).hexdigest()[:32]
    return f"indexes/{version_id}/{number:06d}-{digest}{SUFFIX}"


def lock_object(session: Session, key: str) -> None:
    """Lock the key until this transaction ends: no other may refer to or delete the object."""
    exclusively(session, f"object:{key}")


class ShardObjects:
    """Stores objects of shards, and deletes unreferenced ones."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database, self._objects = database, objects

    def store(self, shard: NewShard) -> None:
        """Store missing objects; the shard's row must already be committed."""
        if shard.tar is not None and not self._objects.exists(shard.row.object_key):
            self._objects.put_file(shard.row.object_key, shard.tar)
        self._objects.put(shard.row.index_key, shard.index)

    def verify(self, shards: Iterable[ShardRow]) -> None:
        """Raise `RuntimeError` if any object of these shards is missing."""
        keys = list(dict.fromkeys(key for row in shards for key in (row.object_key, row.index_key)))
        with ThreadPoolExecutor(_THREADS) as threads:
            for key, there in zip(keys, threads.map(self._objects.exists, keys), strict=True):
                if not there:
                    raise RuntimeError(f"the object {key} is not in the store")

    def delete_unused(self, keys: Iterable[str]) -> list[str]:
        """Delete objects that no shard refers to; returns the keys that are still in use."""
        return [key for key in keys if not self._delete(key)]

    def _delete(self, key: str) -> bool:
        with self._database.transaction() as session:
            lock_object(session, key)
            named = select(ShardRow.version_id).where(ShardRow.object_key == key).limit(1)
            if session.scalar(named) is not None:
                return False
            self._objects.delete(key)
            return True
