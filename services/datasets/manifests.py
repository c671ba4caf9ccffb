"""Durable manifests of versions and layers in the object store, readable without the database.

A manifest lists every shard and can reach hundreds of megabytes, so it is streamed through a file
shard by shard. The complete file is the JSON form of its message in
`proto/vila2/v1/manifests.proto`.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from google.protobuf import json_format
from google.protobuf.message import Message

from services.chassis.storage.objects import ObjectStore
from services.datasets.tables import DatasetRow, LayerRow, LayerShardRow, ShardRow, VersionRow
from vila2.wire.manifests_pb2 import DatasetManifest, LayerManifest, LayerShardRef, ShardRef


def digest_of(shards: Iterable[ShardRow]) -> str:
    """A version's digest: SHA-256 over its shards' digests in order."""
    digest = hashlib.sha256()
    for shard in shards:
        digest.update(shard.sha256.encode())
    return digest.hexdigest()


def dataset_manifest(
    dataset: DatasetRow,
    version: VersionRow,
    *,
    samples: int,
    sha256: str,
    rejected: dict[str, int],
) -> DatasetManifest:
    """A version's manifest without its shards; `sha256` is their `digest_of`."""
    return DatasetManifest(
        dataset=dataset.name,
        version=version.number,
        team=dataset.team,
        kind=dataset.kind,
        samples=samples,
        rejected=rejected,
        sha256=sha256,
        taken_down=version.taken_down or 0,
    )


def shard_ref(shard: ShardRow) -> ShardRef:
    """The manifest entry of a version's shard."""
    return ShardRef(
        index=shard.number,
        object_key=shard.object_key,
        index_key=shard.index_key,
        sha256=shard.sha256,
        bytes=shard.bytes,
        samples=shard.samples,
    )


def layer_manifest(layer: LayerRow, dataset: str, version: int) -> LayerManifest:
    """A layer's manifest without its shards."""
    return LayerManifest(
        layer_id=layer.id,
        name=layer.name,
        dataset=dataset,
        version=version,
        recipe_hash=layer.recipe_hash,
        model=layer.captioner,
    )


def layer_shard_ref(shard: LayerShardRow) -> LayerShardRef:
    """The manifest entry of a layer's shard."""
    return LayerShardRef(
        index=shard.number,
        object_key=shard.object_key,
        sha256=shard.sha256,
        captioned=shard.captioned,
        quarantined=shard.quarantined,
    )


def put_manifest(objects: ObjectStore, key: str, head: Message, shards: Iterable[Message]) -> None:
    """Store a manifest as JSON: the fields of `head`, then `shards`, one a line."""
    opening = json_format.MessageToJson(head, sort_keys=True).rstrip().removesuffix("}").rstrip()
    with tempfile.TemporaryDirectory(prefix="vila2-manifest-") as scratch:
        path = Path(scratch) / "manifest.json"
        with path.open("w", encoding="utf-8") as out:
            out.write(f'{opening},\n  "shards": [')
            for number, shard in enumerate(shards):
                text = json_format.MessageToJson(shard, sort_keys=True, indent=None)
                out.write(f"{',' if number else ''}\n    {text}")
            out.write("\n  ]\n}\n")
        objects.put_file(key, path)
