"""REST models of the dataset store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vila2.api.base import Model, Progress

Kind = Literal["pairs", "conversations", "benchmark"]
VersionState = Literal["open", "ingesting", "ready", "failed"]
LayerState = Literal["open", "sealed"]
NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class DatasetIn(Model):
    """A dataset to create."""

    name: str = Field(pattern=NAME, examples=["web-photos"])
    kind: Kind = Field(description="Pictures with captions, with conversations, or questions.")


class Dataset(DatasetIn):
    """A named dataset of a team."""

    team: str
    latest: int = Field(description="Newest version that is ready; 0 while there is none.")


class VersionIn(Model):
    """A version to fill."""

    source: str = Field("", description="Where the data comes from, for the dataset card.")
    token: str = Field(
        "", max_length=200, description="Names this submission; the same token continues it."
    )
    shard_samples: int = Field(2000, ge=1, le=50_000)


class RejectedExample(Model):
    """One sample that was not admitted."""

    key: str
    source: str
    reason: str
    detail: str


class Version(Model):
    """A version of a dataset; immutable once it is ready."""

    dataset: str
    version: int
    kind: Kind
    state: VersionState
    parts: list[int] = Field(description="Numbers of the parts uploaded so far.")
    shards: int
    samples: int
    bytes: int
    rejected: dict[str, int] = Field(description="Quarantined samples by reason.")
    repeated_captions: int = Field(0, description="Samples whose caption another has too.")
    notes: dict[str, int] = Field(
        default_factory=dict, description="Admitted samples that something was noted about."
    )
    sha256: str = ""
    error: str = ""
    progress: Progress


class Shard(Model):
    """One tar of a version and where it lies."""

    index: int
    object_key: str
    sha256: str
    bytes: int
    samples: int


class LayerIn(Model):
    """A caption layer to open."""

    name: str
    dataset: str
    version: int
    recipe_hash: str
    captioner: str
    token: str = Field("", description="The same token gives the same layer.")


class LayerShardIn(Model):
    """The captions of one shard: written to the object store, now to be counted."""

    object_key: str
    sha256: str
    captioned: int
    quarantined: dict[str, int]


class Layer(Model):
    """Captions for every sample of one dataset version."""

    id: str
    name: str
    dataset: str
    version: int
    recipe_hash: str
    captioner: str
    state: LayerState
    captioned: int
    quarantined: dict[str, int]
    shards: list[str] = Field(description='Object keys, one per shard in order; "" while open.')


class LayerImport(Model):
    """Turn another dataset version's captions into a layer, matched by picture."""

    name: str
    dataset: str = Field(description="Dataset whose pictures get the captions.")
    from_dataset: str = Field(description="Dataset whose captions they are.")
