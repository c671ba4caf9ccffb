"""REST models of the dataset store."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from vila2.schemas.refs import DatasetRef, OptionalDatasetRef
from vila2.schemas.rest.base import Body, Count, Model, Progress
from vila2.schemas.rest.examples import AT, CAPTION, DIGEST, DONE, LAYER, MODEL, example

Kind = Literal["pairs", "conversations", "benchmark"]
Format = Literal[
    "folder", "webdataset", "img2dataset", "llava", "parquet", "imagefolder", "urls", "benchmark"
]  # fmt: skip
VersionState = Literal["open", "ingesting", "ready", "failed"]
LayerState = Literal["open", "sealed", "withdrawn"]
NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class DatasetIn(Body):
    """A dataset to create."""

    model_config = example(name="web-photos", kind="pairs")

    name: str = Field(pattern=NAME, examples=["web-photos"])
    kind: Kind = Field(description="Images with captions, images with conversations, or questions.")


class Dataset(DatasetIn):
    """A named dataset of a team."""

    model_config = example(name="web-photos", kind="pairs", team="local", latest=1)

    team: str
    latest: int = Field(
        description="Version that the dataset's name refers to; 0 if there is none yet."
    )


class LatestIn(Body):
    """The version that a dataset's name refers to from now on."""

    model_config = example(version=1, reason="version 2 lacks captions")

    version: int = Field(ge=1, le=2**31 - 1, description="A version that is ready.")
    reason: str = Field("", max_length=2000, description="Kept in the history.")


class ReadOptionsIn(Body):
    """Options of a reader. An empty column name selects the usual names."""

    image_field: str = Field("", max_length=200)
    caption_field: str = Field("", max_length=200)
    url_field: str = Field("", max_length=200)
    captionless: bool = Field(False, description="Admit images without text.")
    structure_only: bool = Field(
        False, description="Check that image files are complete without decoding their pixels."
    )
    encoding: str = Field(
        "", max_length=40, description="Of texts without a mark of their own, such as cp1252."
    )
    split: str = Field(
        "", max_length=200, description="The split to read, or `all`, of files with several."
    )


class VersionIn(Body):
    """A version to open: filled by parts of raw samples, by files, or from a source."""

    model_config = example(
        source="crawl of June", licence="CC-BY-4.0", shard_samples=2000, format="folder"
    )

    source: str = Field("", description="Origin of the data, for the dataset card.")
    licence: str = Field(
        "", max_length=200, description="Licence of the data, for the dataset card."
    )
    shard_samples: int = Field(2000, ge=1, le=50_000)
    format: Format | None = Field(
        None, description="Format of the uploaded files; null if parts of raw samples are uploaded."
    )
    options: ReadOptionsIn = ReadOptionsIn()
    origin: str = Field(
        "",
        max_length=63,
        description="A source configured by the operator, whose tars are registered in place.",
    )
    prefix: str = Field("", max_length=400, description="Prefix of the tars within the origin.")
    upload_bytes: int = Field(
        0,
        ge=0,
        description="Size of the upload, if known; rejected at once if it exceeds the quota.",
    )

    @field_validator("prefix")
    @classmethod
    def _plain(cls, prefix: str) -> str:
        parts = prefix.strip("/").split("/")
        if prefix.strip("/") and any(part in ("", ".", "..") for part in parts):
            raise ValueError("give a path within the source, without . and .. and empty parts")
        return prefix


class StorageQuota(Model):
    """Storage of a team in bytes: shards of its versions and uploads not ingested yet."""

    model_config = example(team="photos", storage_bytes=None, storage_bytes_used=1_204_112)

    team: str
    storage_bytes: int | None = Field(description="Null: no limit.")
    storage_bytes_used: int


class Upload(Model):
    """An uploaded piece."""

    model_config = example(file="photos/p0.jpg", number=0, sha256=DIGEST, bytes=48_213)

    file: str = Field(description="Name of the file; empty for a part of raw samples.")
    number: int
    sha256: str
    bytes: int


class RejectedExample(Model):
    """One sample that was not admitted."""

    model_config = example(
        key="p17", source="photos/p17.jpg", reason="too-small", detail="8x8 pixels"
    )

    key: str
    source: str
    reason: str
    detail: str


class Version(Model):
    """A version of a dataset; immutable once it is ready, except for takedowns."""

    model_config = example(
        dataset="web-photos",
        version=1,
        kind="pairs",
        state="ready",
        source="crawl of June",
        licence="CC-BY-4.0",
        parts=[0, 1],
        shards=2,
        samples=4000,
        bytes=193_331_200,
        rejected={"too-small": 7},
        sha256=DIGEST,
        progress=DONE,
    )

    dataset: str
    version: int
    kind: Kind
    state: VersionState
    source: str = ""
    licence: str = ""
    origin: str = ""
    parts: list[int] = Field(description="Numbers of the uploaded parts of raw samples.")
    shards: int
    samples: int
    bytes: int
    rejected: dict[str, int] = Field(description="Quarantined samples by reason.")
    repeated_captions: int = Field(0, description="Samples that share their caption with another.")
    notes: dict[str, int] = Field(default_factory=dict, description="Admitted samples by remark.")
    created_at: float = Field(0.0, description="Seconds since 1970.")
    taken_down: int = Field(0, description="Samples taken down since the version became ready.")
    sha256: str = ""
    error: str = ""
    progress: Progress


class Shard(Model):
    """A shard of a version, with the keys of its tar and index in the object store."""

    model_config = example(
        index=0,
        object_key="shards/9f86d081884c7d65.tar",
        index_key="shards/9f86d081884c7d65.index.parquet",
        sha256=DIGEST,
        bytes=96_665_600,
        samples=2000,
    )

    index: int
    object_key: str
    index_key: str = ""
    sha256: str
    bytes: int
    samples: int


class LayerIn(Body):
    """A caption layer to open."""

    model_config = example(
        name="round 1",
        dataset="web-photos",
        version=1,
        recipe_hash="b1946ac92492d234",
        captioner=MODEL,
    )

    name: str = Field(max_length=200)
    dataset: str
    version: Count
    recipe_hash: str = Field(max_length=64)
    captioner: str = Field(max_length=200)


_LAYER_SHARD: dict[str, Any] = {
    "object_key": f"layers/{LAYER}/00000-1.parquet",
    "sha256": DIGEST,
    "captioned": 1994,
    "quarantined": {"repetition": 6},
}


class LayerShardIn(Body):
    """The captions of one shard, already written to the object store."""

    model_config = example(**_LAYER_SHARD)

    object_key: str = Field(max_length=400)
    sha256: str = Field(max_length=64)
    captioned: Count
    quarantined: dict[str, Count]


class LayerShard(LayerShardIn):
    """The recorded captions of one shard."""

    model_config = example(**_LAYER_SHARD, number=0)

    number: Count


class Layer(Model):
    """Captions for every sample of one dataset version."""

    model_config = example(
        id=LAYER,
        name="round 1",
        dataset="web-photos",
        version=1,
        recipe_hash="b1946ac92492d234",
        captioner=MODEL,
        state="sealed",
        captioned=3988,
        quarantined={"repetition": 12},
        shards=2,
        recorded=2,
    )

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
    recorded: int = Field(description="Shards whose captions are recorded.")
    created_at: float = Field(0.0, description="Seconds since 1970.")


class LayerImport(Body):
    """Captions of another dataset to import as a layer, matched by image."""

    model_config = example(
        name="captions of the web", dataset="web-photos", from_dataset="web-photos-recaptioned"
    )

    name: str
    dataset: str = Field(description="Dataset whose images get the captions.")
    from_dataset: str = Field(description="Dataset whose captions are imported.")


class CaptionFileIn(Body):
    """What is asked of an import of captions from a file."""

    name: str = Field(min_length=1, max_length=200, description="Name of the layer.")
    file: str = Field(
        "", max_length=180, description="Name of the file that the captions came from."
    )


class CaptionFileRow(Model):
    """A row of a file of captions: its place in the file and what it calls its image."""

    row: str
    key: str


class CaptionFile(Model):
    """The layer made of a file's captions, and what became of every row of the file.

    `rows` is the sum of `matched`, `empty`, `repeated`, `unmatched` and `ambiguous`.
    """

    model_config = example(
        layer={
            "id": LAYER, "name": "by-hand", "dataset": "web-photos", "version": 1,
            "recipe_hash": "import-b1946ac92492d234", "captioner": "imported:by-hand.csv",
            "state": "sealed", "captioned": 3998, "quarantined": {"not-in-import": 2},
            "shards": 2, "recorded": 2,
        },
        rows=4000,
        matched=3998,
        unmatched=2,
        unmatched_examples=[{"row": "line 12", "key": "p4711.jpg"}],
    )  # fmt: skip

    layer: Layer
    rows: int
    matched: int = Field(description="Samples that got a caption.")
    empty: int = Field(0, description="Rows without a caption.")
    repeated: int = Field(0, description="Rows that repeat a sample's caption.")
    unmatched: int = Field(0, description="Rows that name no sample.")
    ambiguous: int = Field(0, description="Rows that name several samples equally closely.")
    unmatched_examples: list[CaptionFileRow] = Field([], description="At most 20.")
    ambiguous_examples: list[CaptionFileRow] = Field([], description="At most 20.")


class ReasonIn(Body):
    """The reason for an action, kept in the history."""

    model_config = example(reason="the captioner saw the wrong images")

    reason: str = Field("", max_length=2000)


class DiffExample(Model):
    """A sample whose caption differs."""

    key: str
    before: str
    after: str


class LayerDiff(Model):
    """Differences between two layers of one version, over some of its shards."""

    model_config = example(
        shards=2,
        next=None,
        same=310,
        changed=3678,
        words_before=39_880,
        words_after=71_784,
        examples=[{"key": "p0", "before": "a fox", "after": CAPTION}],
    )

    shards: int = Field(description="Shards compared.")
    next: int | None = Field(
        description="Pass this as `first` for the next shards; null at the end."
    )
    same: int = 0
    changed: int = 0
    gained: int = Field(0, description="Samples quarantined before and captioned after.")
    lost: int = Field(0, description="Samples captioned before and quarantined after.")
    neither: int = Field(0, description="Samples quarantined in both.")
    words_before: int = Field(0, description="Total words of the captions before.")
    words_after: int = 0
    examples: list[DiffExample] = []


class AuditIn(Body):
    """An audit to start."""

    model_config = example(benchmarks=["shapes-vqa"], max_distance=7)

    benchmarks: list[DatasetRef] | None = Field(
        None, description="Benchmarks to compare with, NAME or NAME@VERSION; null: all."
    )
    max_distance: int = Field(
        7,
        ge=0,
        le=15,
        description="Largest number of the 64 bits of two perceptual hashes that may differ.",
    )


class Pair(Model):
    """Two samples with similar images; `distance` is in bits of the perceptual hash."""

    key: str
    other: str
    distance: int


class Contamination(Model):
    """Images of a benchmark that are also in a version."""

    benchmark: str
    images: int
    exact: int = Field(description="Benchmark images that are in the version byte for byte.")
    near: int = Field(description="Other benchmark images with a similar image in the version.")
    examples: list[Pair] = []


class Audit(Model):
    """An audit of a version: near-duplicates and benchmark images in it."""

    model_config = example(
        dataset="web-photos",
        version=1,
        state="done",
        max_distance=7,
        samples=4000,
        clusters=21,
        near_duplicates=34,
        examples=[{"key": "p3", "other": "p9", "distance": 2}],
        contamination=[{"benchmark": "shapes-vqa", "images": 1, "exact": 1, "near": 0}],
        progress=DONE,
    )

    dataset: str
    version: int
    state: Literal["running", "done", "failed"]
    max_distance: int
    samples: int = 0
    clusters: int = Field(0, description="Groups of similar images.")
    near_duplicates: int = Field(0, description="Images other than the first of their group.")
    uncompared: int = Field(
        0, description="Images not compared because thousands share part of their hash."
    )
    examples: list[Pair] = []
    contamination: list[Contamination] = []
    error: str = ""
    progress: Progress


class TakedownIn(Body):
    """An image to take down, given by its digest or by one sample that contains it."""

    model_config = example(
        dataset="web-photos",
        key="p0",
        reason="request of the rights holder",
        requested_by="rights@example.org",
    )

    sha256: str = Field("", pattern=r"^([0-9a-f]{64})?$")
    dataset: OptionalDatasetRef = Field("", description="NAME or NAME@VERSION of the sample `key`.")
    key: str = ""
    reason: str = Field(min_length=3, max_length=2000, examples=["request of the rights holder"])
    requested_by: str = Field(min_length=1, max_length=200)


class Takedown(Model):
    """A takedown and its effects; `created_at` is in seconds since 1970."""

    model_config = example(
        id="takedown-5d41402abc4b",
        sha256=DIGEST,
        reason="request of the rights holder",
        requested_by="rights@example.org",
        state="done",
        samples=1,
        captions=2,
        versions=["web-photos@1"],
        layers=[LAYER],
        created_at=AT,
        progress={"done": 2, "total": 2, "unit": "shards"},
    )

    id: str
    sha256: str
    reason: str
    requested_by: str
    state: Literal["running", "done", "failed"]
    samples: int = Field(0, description="Samples removed, over all versions.")
    captions: int = Field(0, description="Rows removed from caption layers.")
    versions: list[str] = []
    layers: list[str] = []
    exports: list[str] = Field([], description="Earlier exports, which may contain the image.")
    models: list[str] = Field([], description="Models trained on data that contained the image.")
    left_in_place: list[str] = Field(
        [],
        description="Tars registered in place; remove the image from them at their source.",
    )
    error: str = ""
    created_at: float
    progress: Progress


_EXPORT: dict[str, Any] = {
    "dataset": "web-photos",
    "version": 1,
    "layer": LAYER,
    "format": "webdataset",
    "text": "concat",
}


class ExportIn(Body):
    """An export to record."""

    model_config = example(**_EXPORT)

    dataset: str
    version: Count = 0
    layer: str = ""
    format: str = Field(max_length=20)
    text: str = Field(max_length=20)
    waiver: str = Field(
        "",
        max_length=2000,
        description="Reason for exporting a layer that is not sealed; kept in the record.",
    )


class Export(ExportIn):
    """A recorded export; `created_at` is in seconds since 1970."""

    model_config = example(**_EXPORT, id="export-7d793037a076", by_key="1f0e3dad", created_at=AT)

    id: str
    by_key: str
    created_at: float


class CaptionOf(Model):
    """A layer's caption of a sample, and how it was generated."""

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
    logprob: float | None
    finish_reason: str
    consistency: float | None = Field(None, description="Nats per token; null: not scored.")
    models: list[str] = Field(description="Models trained on this layer.")


class Lineage(Model):
    """The lineage of a sample: its image and source, captions, and models."""

    model_config = example(
        dataset="web-photos",
        version=1,
        key="p0",
        sha256=DIGEST,
        width=640,
        height=480,
        source="photos/p0.jpg",
        caption="a fox",
        shard=0,
        offset=1536,
        captions=[],
        models=[MODEL],
    )

    dataset: str
    version: int
    key: str
    sha256: str
    width: int
    height: int
    source: str
    caption: str
    shard: int
    offset: int = Field(description="Offset of the image in its tar, in bytes.")
    captions: list[CaptionOf]
    models: list[str] = Field(
        description="Models trained on this version, with or without a layer."
    )


class HistoryEntry(Model):
    """A change of the version or layer in use; `at` is in seconds since 1970."""

    model_config = example(
        action="version-in-use",
        subject="web-photos: 2 -> 1",
        detail="version 2 lacks captions",
        by_key="1f0e3dad",
        at=AT,
    )

    action: str
    subject: str
    detail: str
    by_key: str
    at: float
