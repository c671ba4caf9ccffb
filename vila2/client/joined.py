"""Samples joined with their captions of several layers, shard by shard."""

from __future__ import annotations

from collections.abc import Iterator

from vila2.client.client import Client
from vila2.data.errors import DataError
from vila2.data.index import IndexRow, decode_index, sample_of
from vila2.data.layers import CaptionRow, decode_layer_shard
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.schemas.rest.datasets import Layer


def joined(
    client: Client,
    dataset: str,
    layers: list[Layer],
    *,
    version: int = 0,
    export: str = "",
    images: bool = True,
) -> Iterator[tuple[Sample, list[CaptionRow | None]]]:
    """Every sample with its row of each layer, by shard; without `images`, images are not fetched.

    A layer that is not sealed is read only under an `export` that waived it; its row is `None` if
    it has none yet.
    """
    versions = {held.version for held in layers} or {version}
    if len(versions) > 1:
        raise DataError(
            "the layers are of different versions of the dataset",
            field="layer",
            fix="Take one version at a time",
        )
    number = versions.pop()
    there = [{held.number for held in client.datasets.layer_shards(layer.id)} for layer in layers]
    for shard in client.datasets.each_shard(dataset, number):
        columns: list[list[CaptionRow] | None] = [
            decode_layer_shard(client.datasets.layer_content(layer.id, shard.index, export=export))
            if shard.index in numbers
            else None
            for layer, numbers in zip(layers, there, strict=True)
        ]
        for row, sample in enumerate(_samples(client, dataset, number, shard.index, images)):
            yield sample, [None if column is None else column[row] for column in columns]


def _samples(
    client: Client, dataset: str, version: int, shard: int, images: bool
) -> Iterator[Sample]:
    if images:
        return read_shard(client.datasets.shard_content(dataset, version, shard))
    index = decode_index(client.datasets.shard_index(dataset, version, shard))
    return (sample_of(IndexRow(**held), b"") for held in index)
