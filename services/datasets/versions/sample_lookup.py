"""Finds a sample by key in the shards' indexes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import NotFound
from services.datasets.tables import ShardRow
from services.datasets.versions.content import index_bytes
from vila2.data.index import decode_index


def find_sample(
    objects: ObjectStore, shards: Iterable[ShardRow], dataset: str, key: str
) -> tuple[ShardRow, dict[str, Any]]:
    """The shard that contains a sample, and its row in the index; raises `NotFound`."""
    for shard in shards:
        index = index_bytes(objects, dataset, shard.number, shard.index_key)
        keys = decode_index(index, ("key",))
        at = next((n for n, row in enumerate(keys) if row["key"] == key), None)
        if at is not None:
            return shard, decode_index(index)[at]
    raise NotFound(f"dataset {dataset} has no sample {key!r}", field="key")
