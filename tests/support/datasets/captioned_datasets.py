"""Datasets with sealed layers, for tests of what happens to them afterwards."""

from __future__ import annotations

from pathlib import Path

from tests.support.datasets.samples import caption_row
from tests.support.embedded_platform import images, submitted
from vila2.client import Client
from vila2.data.layers import QUARANTINED, encode_layer_shard
from vila2.data.shards import read_shard
from vila2.schemas.rest.datasets import Layer, LayerIn, LayerShardIn


def dataset(client: Client, folder: Path, *, name: str = "foxes", count: int = 4) -> None:
    """Two samples a shard."""
    submitted(client, images(folder, count=count), name=name, shard_samples=2)


def layer(
    client: Client,
    objects,
    *,
    name: str = "round-1",
    dataset: str = "foxes",
    text: str = "a {key}",
    quarantined: tuple[str, ...] = (),
    shards: int = 99,
    seal: bool = True,
) -> Layer:
    """A layer that captions every sample with `text`, but for those in `quarantined`."""
    version = client.datasets.version(dataset).version
    made = client.datasets.open_layer(
        LayerIn(
            name=name, dataset=dataset, version=version, recipe_hash="r" * 16, captioner="model-1"
        )
    )
    for shard in client.datasets.shards(dataset)[:shards]:
        rows = [
            caption_row(
                sample.key,
                sha256=sample.sha256,
                caption=text.format(key=sample.key),
                **(
                    {"status": QUARANTINED, "reason": "repetition"}
                    if sample.key in quarantined
                    else {}
                ),
            )
            for sample in read_shard(client.datasets.shard_content(dataset, version, shard.index))
        ]
        data, summary = encode_layer_shard(rows)
        key = f"layers/{made.id}/{shard.index:06d}-0.parquet"
        objects.put(key, data)
        client.datasets.put_layer_shard(
            made.id,
            shard.index,
            LayerShardIn(
                object_key=key,
                sha256=summary.sha256,
                captioned=summary.captioned,
                quarantined=dict(summary.quarantined),
            ),
        )
    return client.datasets.seal_layer(made.id) if seal else client.datasets.layer(made.id)
