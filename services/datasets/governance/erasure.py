"""Copies shards and layers without one image. Writes objects but no rows."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.sources import IN_PLACE
from services.datasets.tables import LayerShardRow, ShardRow
from services.datasets.versions.content import captions_of, index_rows, shard_file
from services.datasets.versions.shard_objects import index_key
from vila2.data.index import SUFFIX, IndexRow, encode_index
from vila2.data.layers import decode_layer_shard, encode_layer_shard
from vila2.data.shards import read_shard, write_shard


@dataclass(frozen=True, slots=True)
class Erased:
    """A shard without an image: its new objects, how many samples went, what else must go."""

    object_key: str
    index_key: str
    sha256: str
    bytes: int
    samples: int
    drop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ErasedCaptions:
    """A layer's shard without an image's rows."""

    object_key: str
    sha256: str
    captioned: int
    quarantined: Mapping[str, int]


class Erasing:
    """Makes the copies; idempotent."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    def shard(self, version: str, shard: ShardRow, digest: str) -> Erased:
        """A copy of the shard without the image; of a tar in place, only of its index."""
        looks = f"looks/{shard.version_id}/{shard.number:06d}-{shard.sha256[:16]}.parquet"
        if shard.object_key.startswith(f"{IN_PLACE}/"):
            return self._in_place(version, shard, digest, looks)
        path = shard_file(self._objects, version, shard)
        kept = (s for s in read_shard(path) if s.sha256 != digest)
        with tempfile.TemporaryDirectory(prefix="vila2-takedown-") as scratch:
            partial = Path(scratch) / "shard.tar"
            with partial.open("wb") as out:
                summary = write_shard(kept, out)
            key = f"shards/{summary.sha256[:2]}/{shard.number:06d}-{summary.sha256}.tar"
            self._objects.put_file(key, partial)
        index = encode_index(summary.index)
        at = index_key(shard.version_id, shard.number, index)
        self._objects.put(at, index)
        return Erased(
            object_key=key,
            index_key=at,
            sha256=summary.sha256,
            bytes=summary.bytes,
            samples=shard.samples - summary.samples,
            drop=(shard.index_key, looks),
        )

    def captions(self, held: LayerShardRow, digest: str, takedown: str) -> ErasedCaptions:
        """A copy of a layer's shard without the image's rows."""
        rows = decode_layer_shard(captions_of(self._objects, held))
        data, summary = encode_layer_shard([row for row in rows if row.sha256 != digest])
        key = f"layers/{held.layer_id}/{held.number:06d}-{takedown}.parquet"
        self._objects.put(key, data)
        return ErasedCaptions(
            object_key=key,
            sha256=summary.sha256,
            captioned=summary.captioned,
            quarantined=summary.quarantined,
        )

    def _in_place(self, version: str, shard: ShardRow, digest: str, looks: str) -> Erased:
        held = [IndexRow(**row) for row in index_rows(self._objects, version, shard)]
        kept = [row for row in held if row.sha256 != digest]
        index = encode_index(kept)
        of_index = hashlib.sha256(index).hexdigest()[:32]
        key = f"{shard.object_key.rsplit('/', 1)[0]}/{shard.version_id}-{of_index}{SUFFIX}"
        self._objects.put(key, index)
        return Erased(
            object_key=key,
            index_key=key,
            sha256=shard.sha256,
            bytes=shard.bytes,
            samples=len(held) - len(kept),
            drop=(looks,),
        )
