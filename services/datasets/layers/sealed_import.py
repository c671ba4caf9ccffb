"""Writes captions from elsewhere as a layer: every sample of the version captioned or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from services.chassis.storage.objects import ObjectStore
from services.chassis.web.idempotency import KeyedRequest
from services.datasets.layers.layers import Layers
from services.datasets.tables import ShardRow
from services.datasets.versions.content import index_rows
from vila2.data.admission import MAX_CAPTION_CHARACTERS
from vila2.data.layers import CAPTIONED, QUARANTINED, CaptionRow, encode_layer_shard
from vila2.schemas.rest import datasets as api

NOT_THERE = "not-in-import"
TOO_LONG = "caption-too-long"


def sealed_import(
    layers: Layers,
    objects: ObjectStore,
    team: str,
    opened: api.LayerIn,
    shards: Iterable[ShardRow],
    caption_of: Callable[[str, str], str],
) -> api.Layer:
    """The sealed layer `opened` over `shards`; opening the same again returns the same layer.

    `caption_of` is passed a sample's key and digest, and returns its caption or an empty text:
    such samples are quarantined as `not-in-import`, and those with more characters than a caption
    may have as `caption-too-long`. A layer that was withdrawn since is returned as it is.
    """
    layer = layers.open(team, opened, f"import:{KeyedRequest.of(None, opened).fingerprint}")
    if layer.state != "open":
        return layer
    version = f"{layer.dataset}@{layer.version}"
    for shard in shards:
        rows = [
            _row(held["key"], held["sha256"], caption_of(held["key"], held["sha256"]), layer)
            for held in index_rows(objects, version, shard, ("key", "sha256"))
        ]
        data, summary = encode_layer_shard(rows)
        key = f"layers/{layer.id}/{shard.number:06d}-import.parquet"
        objects.put(key, data)
        recorded = api.LayerShard(
            number=shard.number,
            object_key=key,
            sha256=summary.sha256,
            captioned=summary.captioned,
            quarantined=dict(summary.quarantined),
        )
        layers.put_shards(team, layer.id, [recorded])
    return layers.seal(team, layer.id)


def _row(key: str, sha256: str, caption: str, layer: api.Layer) -> CaptionRow:
    too_long = len(caption) > MAX_CAPTION_CHARACTERS
    reason = TOO_LONG if too_long else "" if caption else NOT_THERE
    return CaptionRow(
        key=key,
        sha256=sha256,
        caption=caption,
        status=QUARANTINED if reason else CAPTIONED,
        reason=reason,
        prompt_id="import",
        prompt="",
        model=layer.captioner,
        seed=0,
        attempt=0,
        temperature=0.0,
        tokens=0,
        logprob=0.0,
        finish_reason="stop",
    )
