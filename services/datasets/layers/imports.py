"""Imports another dataset's captions as a layer, matched by image digest."""

from __future__ import annotations

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.idempotency import KeyedRequest
from services.datasets.layers.layers import Layers
from services.datasets.lookup import ready_version, shards_of
from vila2.data.index import decode_index
from vila2.data.layers import CAPTIONED, QUARANTINED, CaptionRow, encode_layer_shard
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest import datasets as api


class LayerImports:
    """Imports captions from indexes; reads no images."""

    def __init__(self, database: Database, objects: ObjectStore, layers: Layers) -> None:
        self._database, self._objects, self._layers = database, objects, layers

    def run(self, team: str, body: api.LayerImport) -> api.Layer:
        """Create a sealed layer from another dataset's captions.

        Images without a caption in it are quarantined as `not-in-import`. Raises `NotFound` or
        `Conflict` if a version is missing or not ready.
        """
        with self._database.transaction() as session:
            donor = ready_version(session, team, body.from_dataset)
            target = ready_version(session, team, body.dataset)
            donor_shards, shards = shards_of(session, donor.id), shards_of(session, target.id)
        captions: dict[str, str] = {}
        for shard in donor_shards:
            for held in decode_index(self._objects.get(shard.index_key), ("sha256", "caption")):
                captions[held["sha256"]] = held["caption"]
        opened = api.LayerIn(
            name=body.name,
            dataset=body.dataset,
            version=target.number,
            recipe_hash=f"import-{donor.sha256[:16]}",
            captioner=DatasetRef(body.from_dataset, donor.number),
        )
        # Importing the same captions again returns the same layer.
        token = f"import:{KeyedRequest.of(None, opened).fingerprint}"
        layer = self._layers.open(team, opened, token)
        if layer.state == "sealed":
            return layer
        for shard in shards:
            rows = [
                _imported(held["key"], held["sha256"], captions, layer.captioner)
                for held in decode_index(self._objects.get(shard.index_key), ("key", "sha256"))
            ]
            data, summary = encode_layer_shard(rows)
            key = f"layers/{layer.id}/{shard.number:06d}-import.parquet"
            self._objects.put(key, data)
            recorded = api.LayerShard(
                number=shard.number,
                object_key=key,
                sha256=summary.sha256,
                captioned=summary.captioned,
                quarantined=dict(summary.quarantined),
            )
            self._layers.put_shards(team, layer.id, [recorded])
        return self._layers.seal(team, layer.id)


def _imported(key: str, sha256: str, captions: dict[str, str], captioner: str) -> CaptionRow:
    caption = captions.get(sha256, "")
    return CaptionRow(
        key=key,
        sha256=sha256,
        caption=caption,
        status=CAPTIONED if caption else QUARANTINED,
        reason="" if caption else "not-in-import",
        prompt_id="import",
        prompt="",
        model=captioner,
        seed=0,
        attempt=0,
        temperature=0.0,
        tokens=0,
        logprob=0.0,
        finish_reason="stop",
    )
