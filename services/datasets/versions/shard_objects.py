"""The objects of shards, which versions of several teams can share.

A shard's key is made from its content, so the same data submitted twice is stored once. Whoever
needs such an object first names its key in a row of `shards` and then looks for the object; whoever
deletes one checks that no row names it. Both hold the key's lock, so an object that was found
cannot be deleted before its version is ready.
"""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.datasets.tables import ShardRow

_THREADS = 8


@dataclass(frozen=True, slots=True)
class NewShard:
    """A shard that is about to be stored; `tar` is `None` if its tar stays where it is."""

    row: ShardRow
    index: bytes
    tar: Path | None = None


def lock_object(session: Session, key: str) -> None:
    """Until this transaction ends, nobody else names or deletes this object."""
    exclusively(session, f"object:{key}")


class ShardObjects:
    """Stores the objects of shards, and deletes those that no shard names any more."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database, self._objects = database, objects

    def store(self, shard: NewShard) -> None:
        """Store what is not there yet; the shard's row must have been committed before."""
        if shard.tar is not None and not self._objects.exists(shard.row.object_key):
            self._objects.put_file(shard.row.object_key, shard.tar)
        self._objects.put(shard.row.index_key, shard.index)

    def verify(self, shards: Iterable[ShardRow]) -> None:
        """Raise `RuntimeError` unless every object of these shards is there."""
        keys = list(dict.fromkeys(key for row in shards for key in (row.object_key, row.index_key)))
        with ThreadPoolExecutor(_THREADS) as threads:
            for key, there in zip(keys, threads.map(self._objects.exists, keys), strict=True):
                if not there:
                    raise RuntimeError(f"the object {key} is not in the store")

    def delete_unused(self, keys: Iterable[str]) -> list[str]:
        """Delete those that no shard names; the others stay, and are returned."""
        return [key for key in keys if not self._delete(key)]

    def _delete(self, key: str) -> bool:
        with self._database.transaction() as session:
            lock_object(session, key)
            named = select(ShardRow.version_id).where(ShardRow.object_key == key).limit(1)
            if session.scalar(named) is not None:
                return False
            self._objects.delete(key)
            return True
