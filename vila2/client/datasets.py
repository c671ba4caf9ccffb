"""The typed client of the dataset store."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any
from urllib.parse import quote

from vila2.client.http import PAGE, SLOW, Rest, segment
from vila2.schemas.rest import dataset_upkeep as upkeep
from vila2.schemas.rest import datasets as api


class DatasetsClient(Rest):
    """The dataset store."""

    def create(self, body: api.DatasetIn) -> api.Dataset:
        """Create a dataset, or return the existing one."""
        return self.one(api.Dataset, "POST", "datasets", json=body.model_dump())

    def all(self, query: str = "") -> list[api.Dataset]:
        """The team's datasets whose names contain `query`, by name."""
        return self.many(api.Dataset, "datasets", params={"query": query})

    def get(self, name: str) -> api.Dataset:
        """A dataset by name."""
        return self.one(api.Dataset, "GET", f"datasets/{segment(name)}")

    def quota(self, team: str = "") -> api.StorageQuota:
        """A team's storage quota and usage; by default the caller's team."""
        return self.one(api.StorageQuota, "GET", f"quotas/{team}" if team else "quota")

    def use(self, name: str, body: api.LatestIn) -> api.Dataset:
        """Set the version that the name without `@version` refers to."""
        return self.one(
            api.Dataset, "POST", f"datasets/{segment(name)}/use", json=body.model_dump()
        )

    def open_version(self, name: str, body: api.VersionIn, token: str | None = None) -> api.Version:
        """Open a version; the same token returns the open version, so that an upload can resume."""
        return self.create_one(api.Version, f"datasets/{segment(name)}/versions", body, token=token)

    def put_part(self, name: str, version: int, part: int, data: bytes) -> api.Version:
        """Upload a part."""
        path = f"datasets/{segment(name)}/versions/{version}/parts/{part}"
        return self.one(api.Version, "PUT", path, content=data)

    def put_piece(self, name: str, version: int, file: str, piece: int, data: bytes) -> api.Version:
        """Upload a piece of a source file unchanged."""
        path = f"datasets/{segment(name)}/versions/{version}/files/{quote(file)}/pieces/{piece}"
        return self.one(api.Version, "PUT", path, content=data)

    def uploads(self, name: str, version: int) -> list[api.Upload]:
        """The pieces already uploaded."""
        return self.many(api.Upload, f"datasets/{segment(name)}/versions/{version}/uploads")

    def seal_version(self, name: str, version: int) -> api.Version:
        """Close a version and have it ingested."""
        return self.one(api.Version, "POST", f"datasets/{segment(name)}/versions/{version}/seal")

    def version(self, name: str, version: int = 0) -> api.Version:
        """A version; 0 is the newest that is ready."""
        return self.one(api.Version, "GET", f"datasets/{segment(name)}/versions/{version}")

    def shards(self, name: str, version: int = 0) -> list[api.Shard]:
        """The shards of a version."""
        return list(self.each_shard(name, version))

    def each_shard(self, name: str, version: int = 0) -> Iterator[api.Shard]:
        """The shards of a version, page by page."""
        # Version 0 is the one in use, which may change; all pages must be of the same version.
        number = version or self.version(name).version
        return self.each(api.Shard, f"datasets/{segment(name)}/versions/{segment(number)}/shards")

    def shard(self, name: str, version: int, index: int) -> api.Shard:
        """The current state of one shard."""
        return self.one(
            api.Shard,
            "GET",
            f"datasets/{segment(name)}/versions/{version}/shards/{index}",
        )

    def rejected(self, name: str, version: int) -> list[api.RejectedExample]:
        """Examples of samples that were not admitted."""
        path = f"datasets/{segment(name)}/versions/{version}/rejected"
        return self.many(api.RejectedExample, path)

    def shard_content(self, name: str, version: int, index: int) -> bytes:
        """A shard's tar."""
        path = f"datasets/{segment(name)}/versions/{version}/shards/{index}/content"
        return self.send("GET", path).content

    def shard_index(self, name: str, version: int, index: int) -> bytes:
        """A shard's index: Parquet."""
        return self.send(
            "GET",
            f"datasets/{segment(name)}/versions/{version}/shards/{index}/index",
        ).content

    def lineage(self, name: str, version: int, key: str) -> api.Lineage:
        """The origin of a sample, and everything derived from it."""
        path = f"datasets/{segment(name)}/versions/{version}/samples/{segment(key)}"
        return self.one(api.Lineage, "GET", path)

    def image(self, name: str, version: int, key: str) -> bytes:
        """A sample's image as it was submitted; version 0 is the newest that is ready."""
        path = f"datasets/{segment(name)}/versions/{version}/samples/{segment(key)}/image"
        return self.send("GET", path).content

    def start_audit(self, name: str, version: int, body: api.AuditIn) -> api.Audit:
        """Search a version for near-duplicates and benchmark images."""
        path = f"datasets/{segment(name)}/versions/{version}/audit"
        return self.one(api.Audit, "POST", path, json=body.model_dump())

    def audit(self, name: str, version: int = 0) -> api.Audit:
        """The progress and findings of an audit."""
        return self.one(api.Audit, "GET", f"datasets/{segment(name)}/versions/{version}/audit")

    def take_down(self, body: api.TakedownIn) -> api.Takedown:
        """Take an image down."""
        return self.one(api.Takedown, "POST", "takedowns", json=body.model_dump())

    def takedown(self, takedown: str) -> api.Takedown:
        """The record of a take-down."""
        return self.one(api.Takedown, "GET", f"takedowns/{segment(takedown)}")

    def takedowns(self) -> list[api.Takedown]:
        """All take-downs, newest first."""
        return self.many(api.Takedown, "takedowns")

    def history(self, limit: int = 100) -> list[api.HistoryEntry]:
        """The `limit` newest changes to which data is in use."""
        return list(islice(self.each(api.HistoryEntry, "history", page=min(limit, PAGE)), limit))

    def begin_export(self, body: api.ExportIn) -> api.Export:
        """Record an export; raises `ApiError` if the store refuses it."""
        return self.create_one(api.Export, "exports", body)

    def exports(self) -> list[api.Export]:
        """All exports, newest first."""
        return self.many(api.Export, "exports")

    def open_layer(self, body: api.LayerIn, token: str | None = None) -> api.Layer:
        """Open a caption layer; the same token returns the existing one."""
        return self.create_one(api.Layer, "layers", body, token=token)

    def layers(self) -> list[api.Layer]:
        """All layers of the team."""
        return self.many(api.Layer, "layers")

    def layer(self, layer: str) -> api.Layer:
        """A layer by id or name."""
        return self.one(api.Layer, "GET", f"layers/{segment(layer)}")

    def layer_shards(self, layer: str) -> list[api.LayerShard]:
        """The caption files of a layer's shards; shards without captions are left out."""
        return self.many(api.LayerShard, f"layers/{segment(layer)}/shards")

    def withdraw_layer(self, layer: str, reason: str = "") -> api.Layer:
        """Take a layer out of use."""
        return self.one(
            api.Layer, "POST", f"layers/{segment(layer)}/withdraw", json={"reason": reason}
        )

    def restore_layer(self, layer: str, reason: str = "") -> api.Layer:
        """Put a withdrawn layer back into use."""
        return self.one(
            api.Layer, "POST", f"layers/{segment(layer)}/restore", json={"reason": reason}
        )

    def diff_layers(
        self, layer: str, against: str, *, first: int = 0, examples: int = 10
    ) -> api.LayerDiff:
        """Changes from layer `against` to `layer`, over the next shards from `first` on."""
        given: dict[str, Any] = {"against": against, "first": first, "examples": examples}
        return self.one(api.LayerDiff, "GET", f"layers/{segment(layer)}/diff", params=given)

    def put_layer_shard(self, layer: str, shard: int, body: api.LayerShardIn) -> api.Layer:
        """Record a shard's captions."""
        path = f"layers/{segment(layer)}/shards/{shard}"
        return self.one(api.Layer, "PUT", path, json=body.model_dump())

    def put_layer_shards(self, layer: str, shards: Sequence[api.LayerShard]) -> api.Layer:
        """Record the captions of up to 1,000 shards at once, all or none."""
        body = [shard.model_dump() for shard in shards]
        return self.one(api.Layer, "PUT", f"layers/{segment(layer)}/shards", json=body)

    def seal_layer(self, layer: str) -> api.Layer:
        """Seal a layer."""
        return self.one(api.Layer, "POST", f"layers/{segment(layer)}/seal")

    def import_layer(self, body: api.LayerImport) -> api.Layer:
        """Turn another dataset's captions into a layer."""
        return self.one(api.Layer, "POST", "layers/import", json=body.model_dump())

    def import_captions(
        self, name: str, version: int, body: api.CaptionFileIn, data: bytes
    ) -> api.CaptionFile:
        """Import captions, encoded by `encode_captions`, as a layer."""
        path = f"datasets/{segment(name)}/versions/{version}/captions"
        return self.one(api.CaptionFile, "POST", path, params=body.model_dump(), content=data)

    def layer_content(self, layer: str, shard: int, *, export: str = "") -> bytes:
        """The Parquet of one shard's captions; `export` is the id of one that waived sealing."""
        path = f"layers/{segment(layer)}/shards/{shard}/content"
        return self.send("GET", path, params={"export": export}).content

    def delete(
        self,
        name: str,
        version: int = 0,
        *,
        with_layers: bool = False,
        despite_models: bool = False,
        reason: str = "",
    ) -> upkeep.Deletion:
        """Begin to delete a version, or with version 0 the whole dataset."""
        path = f"datasets/{segment(name)}" + (f"/versions/{version}" if version else "")
        asked = {"with_layers": with_layers, "despite_models": despite_models, "reason": reason}
        return self.one(upkeep.Deletion, "DELETE", path, params=asked)

    def deletion(self, deletion: str) -> upkeep.Deletion:
        """The record of a deletion."""
        return self.one(upkeep.Deletion, "GET", f"deletions/{segment(deletion)}")

    def deletions(self) -> list[upkeep.Deletion]:
        """All deletions, newest first."""
        return self.many(upkeep.Deletion, "deletions")

    def exclude(
        self, name: str, version: int, body: upkeep.ExcludeIn, token: str | None = None
    ) -> api.Version:
        """Begin to make a new version without some samples; the same token returns it again."""
        path = f"datasets/{segment(name)}/versions/{version}/exclude"
        return self.create_one(api.Version, path, body, token=token)

    def usage(self) -> upkeep.StorageUsage:
        """What the team stores, by dataset and version."""
        return self.one(upkeep.StorageUsage, "GET", "usage", timeout=SLOW)

    def garbage(self) -> upkeep.Garbage:
        """Abandoned uploads and objects that no row refers to."""
        return self.one(upkeep.Garbage, "GET", "garbage", timeout=SLOW)

    def collect_garbage(self) -> upkeep.Garbage:
        """Delete what `garbage` returns."""
        return self.one(upkeep.Garbage, "DELETE", "garbage", timeout=SLOW)
