"""REST models for deleting, thinning out and measuring what the dataset store holds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vila2.schemas.rest.base import Body, Model, Progress
from vila2.schemas.rest.datasets import LayerState, StorageQuota, VersionState
from vila2.schemas.rest.examples import AT, LAYER, example

SampleKey = Annotated[str, Field(min_length=1, max_length=95)]


class ExcludeIn(Body):
    """Samples that a new version of the dataset leaves out."""

    model_config = example(keys=["p17", "p21"], reason="the same images as in shapes-vqa")

    keys: list[SampleKey] = Field(min_length=1, max_length=200_000)
    reason: str = Field("", max_length=2000, description="Kept in the history.")


class DeletionIn(Body):
    """What is asked of a deletion."""

    # A query holds text, so that these are not strict.
    with_layers: bool = Field(
        False,
        strict=False,
        description="Also delete its caption layers; requires `captions:write`.",
    )
    despite_models: bool = Field(
        False, strict=False, description="Delete it although models were trained on it; they stay."
    )
    reason: str = Field("", max_length=2000, description="Kept in the history.")


class Deletion(Model):
    """The deletion of a version or a dataset; `created_at` is in seconds since 1970."""

    model_config = example(
        id="deletion-5d41402abc4b",
        dataset="web-photos",
        version=1,
        state="done",
        versions=["web-photos@1"],
        layers=[LAYER],
        samples=4000,
        bytes_freed=193_331_200,
        reason="replaced by version 2",
        by_key="1f0e3dad",
        created_at=AT,
        progress={"done": 2, "total": 2, "unit": "shards"},
    )

    id: str
    dataset: str
    version: int = Field(description="0: the whole dataset.")
    state: Literal["running", "done", "failed"]
    versions: list[str] = []
    layers: list[str] = Field([], description="Layers deleted with it.")
    samples: int = 0
    bytes_freed: int = Field(
        0, description="Bytes of the objects that no other version of the team uses."
    )
    exports: list[str] = Field([], description="Earlier exports; their records stay.")
    models: list[str] = Field([], description="Models trained on it; they stay.")
    reason: str = ""
    by_key: str
    error: str = ""
    created_at: float
    progress: Progress


class LayerUsage(Model):
    """Bytes of a caption layer's objects."""

    id: str
    name: str
    state: LayerState
    bytes: int


class VersionUsage(Model):
    """What one version stores. A version that is open or has failed has uploads only."""

    version: int
    state: VersionState
    in_use: bool = Field(description="Whether the dataset's name refers to it.")
    samples: int
    own_bytes: int = Field(description="Of shards that no other version of the team has.")
    shared_bytes: int = Field(description="Of shards that another version of the team has too.")
    upload_bytes: int = Field(description="Of uploads that are not ingested.")
    layers: list[LayerUsage] = []
    exports: int = Field(0, description="Recorded exports, which are stored elsewhere.")
    created_at: float


class DatasetUsage(Model):
    """What one dataset stores."""

    dataset: str
    bytes: int = Field(description="Of its shards, each counted once.")
    own_bytes: int = Field(description="Of these, bytes that no other dataset of the team has.")
    versions: list[VersionUsage]


class StorageUsage(Model):
    """What a team stores, by dataset and version.

    The quota counts a shard in every version that has it, so `storage_bytes_used` may exceed
    `bytes`. Tars registered in place are stored elsewhere and count 0.
    """

    model_config = example(
        team="photos",
        quota={"team": "photos", "storage_bytes": None, "storage_bytes_used": 193_331_200},
        bytes=193_331_200,
        layer_bytes=804_112,
        datasets=[
            {
                "dataset": "web-photos", "bytes": 193_331_200, "own_bytes": 193_331_200,
                "versions": [
                    {
                        "version": 1, "state": "ready", "in_use": True, "samples": 4000,
                        "own_bytes": 193_331_200, "shared_bytes": 0, "upload_bytes": 0,
                        "created_at": AT,
                        "layers": [
                            {"id": LAYER, "name": "round 1", "state": "sealed", "bytes": 804_112}
                        ],
                    }
                ],
            }
        ],
    )  # fmt: skip

    team: str
    quota: StorageQuota
    bytes: int = Field(description="Of the team's shards, each counted once.")
    upload_bytes: int = 0
    layer_bytes: int = 0
    datasets: list[DatasetUsage]


class AbandonedUpload(Model):
    """A version that was opened and received nothing for a day."""

    dataset: str
    version: int
    bytes: int
    created_at: float


class Unreferenced(Model):
    """Objects that no row refers to."""

    objects: int = 0
    bytes: int = 0


class Garbage(Model):
    """What can be deleted without a trace, or was, if `collected`."""

    model_config = example(
        collected=False,
        abandoned=[
            {"dataset": "web-photos", "version": 3, "bytes": 67_108_864, "created_at": AT}
        ],
        objects={"objects": 4, "bytes": 1_204_112},
        unowned={"objects": 0, "bytes": 0},
        young=1,
    )  # fmt: skip

    collected: bool
    abandoned: list[AbandonedUpload] = []
    objects: Unreferenced = Field(description="Below the team's versions and layers.")
    unowned: Unreferenced | None = Field(
        None, description="Of no team; null without the scope `platform:admin`."
    )
    young: int = Field(0, description="Further such objects, not an hour old, which are left.")
