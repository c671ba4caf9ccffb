"""The durable manifests of versions and layers: what lies in the object store, readable alone."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from services.datasets.tables import DatasetRow, LayerRow, LayerShardRow, ShardRow, VersionRow
from vila2.wire.manifests_pb2 import DatasetManifest, LayerManifest, LayerShardRef, ShardRef


def dataset_manifest(
    dataset: DatasetRow, version: VersionRow, shards: Sequence[ShardRow], rejected: dict[str, int]
) -> DatasetManifest:
    """The manifest of a version; its digest is over the shards' digests in order."""
    return DatasetManifest(
        dataset=dataset.name,
        version=version.number,
        team=dataset.team,
        kind=dataset.kind,
        samples=sum(shard.samples for shard in shards),
        rejected=rejected,
        sha256=hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest(),
        taken_down=version.taken_down or 0,
        shards=[
            ShardRef(
                index=shard.number,
                object_key=shard.object_key,
                index_key=shard.index_key,
                sha256=shard.sha256,
                bytes=shard.bytes,
                samples=shard.samples,
            )
            for shard in shards
        ],
    )


def layer_manifest(
    layer: LayerRow, dataset: str, version: int, shards: Sequence[LayerShardRow]
) -> LayerManifest:
    """The manifest of a sealed layer."""
    return LayerManifest(
        layer_id=layer.id,
        name=layer.name,
        dataset=dataset,
        version=version,
        recipe_hash=layer.recipe_hash,
        model=layer.captioner,
        shards=[
            LayerShardRef(
                index=shard.number,
                object_key=shard.object_key,
                sha256=shard.sha256,
                captioned=shard.captioned,
                quarantined=shard.quarantined,
            )
            for shard in shards
        ],
    )
