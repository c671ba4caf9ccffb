"""REST models of the dataset store."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vila2.api.base import Body, Count, Model, Progress

Kind = Literal["pairs", "conversations", "benchmark"]
Format = Literal["folder", "webdataset", "img2dataset", "llava", "parquet", "urls", "benchmark"]
VersionState = Literal["open", "ingesting", "ready", "failed"]
LayerState = Literal["open", "sealed", "withdrawn"]
NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class DatasetIn(Body):
    """A dataset to create."""

    name: str = Field(pattern=NAME, examples=["web-photos"])
    kind: Kind = Field(description="Pictures with captions, with conversations, or questions.")


class Dataset(DatasetIn):
    """A named dataset of a team."""

    team: str
    latest: int = Field(description="The version that the bare name means; 0 while there is none.")


class LatestIn(Body):
    """Which version the bare name of a dataset means from now on."""

    version: int = Field(ge=1, le=2**31 - 1, description="A version that is ready.")
    reason: str = Field("", max_length=2000, description="Kept in the history.")


class ReadOptionsIn(Body):
    """Which columns hold what; empty: the reader looks for the usual names."""

    image_field: str = Field("", max_length=200)
    caption_field: str = Field("", max_length=200)
    url_field: str = Field("", max_length=200)
    captionless: bool = Field(False, description="Admit pictures that have no text.")
    structure_only: bool = Field(
        False, description="Check that pictures are whole, and do not decode their pixels."
    )


class VersionIn(Body):
    """A version to fill, by parts of raw samples, by files as they are, or from a source."""

    source: str = Field("", description="Where the data comes from, for the dataset card.")
    licence: str = Field("", max_length=200, description="Its licence, for the dataset card.")
    shard_samples: int = Field(2000, ge=1, le=50_000)
    format: Format | None = Field(
        None, description="How the uploaded files are read; null: parts of raw samples are sent."
    )
    options: ReadOptionsIn = ReadOptionsIn()
    origin: str = Field(
        "",
        max_length=63,
        description="A source that the operator configured: its tars are registered in place.",
    )
    prefix: str = Field("", max_length=400, description="Where the tars lie within the origin.")
    upload_bytes: int = Field(
        0, ge=0, description="What will be sent, if that is known: refused now if it does not fit."
    )


class StorageQuota(Model):
    """What a team stores: its versions' shards, and uploads that are not ingested yet."""

    team: str
    storage_bytes: int | None = Field(description="Null: no limit.")
    storage_bytes_used: int


class Upload(Model):
    """A piece of an upload that the store has."""

    file: str = Field(description="Name of the file; empty for a part of raw samples.")
    number: int
    sha256: str
    bytes: int


class RejectedExample(Model):
    """One sample that was not admitted."""

    key: str
    source: str
    reason: str
    detail: str


class Version(Model):
    """A version of a dataset; immutable once it is ready, but for take-downs."""

    dataset: str
    version: int
    kind: Kind
    state: VersionState
    source: str = ""
    licence: str = ""
    origin: str = ""
    parts: list[int] = Field(description="Numbers of the parts of raw samples uploaded so far.")
    shards: int
    samples: int
    bytes: int
    rejected: dict[str, int] = Field(description="Quarantined samples by reason.")
    repeated_captions: int = Field(0, description="Samples whose caption another has too.")
    notes: dict[str, int] = Field(
        default_factory=dict, description="Admitted samples that something was noted about."
    )
    taken_down: int = Field(0, description="Samples taken down since it was ready.")
    sha256: str = ""
    error: str = ""
    progress: Progress


class Shard(Model):
    """One tar of a version and where it lies."""

    index: int
    object_key: str
    index_key: str = ""
    sha256: str
    bytes: int
    samples: int


class LayerIn(Body):
    """A caption layer to open."""

    name: str = Field(max_length=200)
    dataset: str
    version: Count
    recipe_hash: str = Field(max_length=64)
    captioner: str = Field(max_length=200)


class LayerShardIn(Body):
    """The captions of one shard: written to the object store, now to be counted."""

    object_key: str = Field(max_length=400)
    sha256: str = Field(max_length=64)
    captioned: Count
    quarantined: dict[str, Count]


class LayerShard(LayerShardIn):
    """The captions of one shard and where they lie."""

    number: Count


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
    shards: int = Field(description="Shards of the version.")
    recorded: int = Field(description="Shards whose captions are there.")


class LayerImport(Body):
    """Turn another dataset version's captions into a layer, matched by picture."""

    name: str
    dataset: str = Field(description="Dataset whose pictures get the captions.")
    from_dataset: str = Field(description="Dataset whose captions they are.")


class ReasonIn(Body):
    """Why something is done; kept in the history."""

    reason: str = Field("", max_length=2000)


class DiffExample(Model):
    """One sample whose caption differs."""

    key: str
    before: str
    after: str


class LayerDiff(Model):
    """How the captions of two layers of one version differ, over some of its shards."""

    shards: int = Field(description="Shards compared.")
    next: int | None = Field(description="Give this as `first` for the rest; null: the end.")
    same: int = 0
    changed: int = 0
    gained: int = Field(0, description="Quarantined before, captioned after.")
    lost: int = Field(0, description="Captioned before, quarantined after.")
    neither: int = Field(0, description="Quarantined in both.")
    words_before: int = Field(0, description="Words of all captions before.")
    words_after: int = 0
    examples: list[DiffExample] = []


class AuditIn(Body):
    """What to search a version for."""

    benchmarks: list[str] | None = Field(
        None, description="Benchmarks to hold it against, NAME or NAME@VERSION; null: all."
    )
    max_distance: int = Field(
        7, ge=0, le=15, description="Bits of 64 in which the perceptual hashes may differ."
    )


class Pair(Model):
    """Two samples that look alike."""

    key: str
    other: str
    distance: int


class Contamination(Model):
    """Pictures of a benchmark that a version holds as well."""

    benchmark: str
    pictures: int
    exact: int = Field(description="Benchmark pictures that are there byte for byte.")
    near: int = Field(description="Further ones that look alike.")
    examples: list[Pair] = []


class Audit(Model):
    """Near-duplicates within a version and benchmark pictures in it."""

    dataset: str
    version: int
    state: Literal["running", "done", "failed"]
    max_distance: int
    samples: int = 0
    clusters: int = Field(0, description="Groups of pictures that look alike.")
    near_duplicates: int = Field(0, description="Pictures beyond the first of their group.")
    uncompared: int = Field(0, description="Pictures too alike to thousands to be compared.")
    examples: list[Pair] = []
    contamination: list[Contamination] = []
    error: str = ""
    progress: Progress


class TakedownIn(Body):
    """A picture that must go, by digest or by one sample that shows it."""

    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    dataset: str = Field("", description="NAME or NAME@VERSION, with `key`.")
    key: str = ""
    reason: str = Field(min_length=3, max_length=2000, examples=["request of the rights holder"])
    requested_by: str = Field(min_length=1, max_length=200)


class Takedown(Model):
    """The record of a take-down."""

    id: str
    sha256: str
    reason: str
    requested_by: str
    state: Literal["running", "done", "failed"]
    samples: int = Field(0, description="Samples taken out, over all versions.")
    captions: int = Field(0, description="Rows taken out of caption layers.")
    versions: list[str] = []
    layers: list[str] = []
    exports: list[str] = Field([], description="Exports made before, which may hold the picture.")
    models: list[str] = Field([], description="Models trained on data that held the picture.")
    left_in_place: list[str] = Field(
        [], description="Tars of sources registered in place; take the picture out of them there."
    )
    error: str = ""
    created_at: float
    progress: Progress


class ExportIn(Body):
    """An export about to be made."""

    dataset: str
    version: Count = 0
    layer: str = ""
    format: str = Field(max_length=20)
    text: str = Field(max_length=20)
    waiver: str = Field(
        "", max_length=2000, description="Why a layer that is not sealed may go out; recorded."
    )


class Export(ExportIn):
    """The record of an export."""

    id: str
    by_key: str
    created_at: float


class CaptionOf(Model):
    """One layer's caption of a sample and how it was made."""

    layer: str
    name: str
    state: LayerState
    captioner: str
    caption: str
    status: str
    reason: str
    prompt_id: str
    prompt: str
    model: str
    seed: int
    attempt: int
    temperature: float
    tokens: int
    logprob: float
    finish_reason: str
    consistency: float | None = Field(None, description="Nats per token; null: not scored.")
    models: list[str] = Field(description="Models trained on this layer.")


class Lineage(Model):
    """One sample: back to its picture and source, forward to captions and models."""

    dataset: str
    version: int
    key: str
    sha256: str
    width: int
    height: int
    source: str
    caption: str
    shard: int
    offset: int = Field(description="Where the picture begins in its tar.")
    captions: list[CaptionOf]
    models: list[str] = Field(description="Models trained on this version without a layer too.")


class HistoryEntry(Model):
    """Something that changed which version or layer is in use."""

    action: str
    subject: str
    detail: str
    by_key: str
    at: float
