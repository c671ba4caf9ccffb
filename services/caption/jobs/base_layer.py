"""The captions that a job starts from: a layer of the same version, or of an earlier one.

A new version's samples may be in different shards, so an earlier layer's captions are looked up by
key. The index of all keys is built once per job and takes 12 bytes a sample, whatever the captions'
length.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from vila2.client.datasets import DatasetsClient
from vila2.data.layers import CaptionRow, decode_layer_shard
from vila2.data.sample import Sample
from vila2.schemas.rest.datasets import Layer

_SHARDS_IN_MEMORY = 8


class BaseLayer:
    """A sealed layer's rows for any samples; not safe for concurrent use."""

    def __init__(self, datasets: DatasetsClient, layer: Layer, version: int) -> None:
        self._datasets, self._layer, self._same = datasets, layer, layer.version == version
        self._keys: np.ndarray | None = None
        self._shards: np.ndarray = np.empty(0, np.int32)
        self._open: OrderedDict[int, dict[str, CaptionRow]] = OrderedDict()

    def rows(self, shard: int, samples: Sequence[Sample]) -> list[CaptionRow]:
        """The layer's rows of these samples; `shard` is their shard's number.

        Samples that the layer lacks, or whose image has changed, have no row.
        """
        if self._same:
            return list(self._shard(shard).values())
        digests = np.array([_digest(sample.key) for sample in samples], np.uint64)
        keys = self._index()
        at = np.minimum(np.searchsorted(keys, digests), max(0, len(keys) - 1))
        found = []
        for place, digest, sample in zip(at, digests, samples, strict=True):
            if len(keys) and keys[place] == digest:
                row = self._shard(int(self._shards[place])).get(sample.key)
                if row is not None and row.sha256 == sample.sha256:
                    found.append(row)
        return found

    def _index(self) -> np.ndarray:
        if self._keys is None:
            version = self._datasets.version(self._layer.dataset, self._layer.version)
            keys, shards = [], []
            for number in range(version.shards):
                data = pa.BufferReader(self._datasets.layer_content(self._layer.id, number))
                held = pq.read_table(data, columns=["key"])["key"].to_pylist()
                keys += [_digest(key) for key in held]
                shards += [number] * len(held)
            order = np.argsort(np.array(keys, np.uint64), kind="stable")
            self._keys = np.array(keys, np.uint64)[order]
            self._shards = np.array(shards, np.int32)[order]
        return self._keys

    def _shard(self, number: int) -> dict[str, CaptionRow]:
        if number not in self._open:
            rows = decode_layer_shard(self._datasets.layer_content(self._layer.id, number))
            self._open[number] = {row.key: row for row in rows}
            while len(self._open) > _SHARDS_IN_MEMORY:
                self._open.popitem(last=False)
        self._open.move_to_end(number)
        return self._open[number]


def _digest(key: str) -> int:
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big")
