"""REST models of the training dispatcher and the model registry."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from vila2.schemas.assembly import SourceOptions
from vila2.schemas.base import Strict
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.base import Body, Count, Model, Progress
from vila2.schemas.rest.examples import AT, BASE, DIGEST, JOB, MODEL, RUN, STAGE, example
from vila2.schemas.rest.model_imports import ModelOrigin
from vila2.schemas.stages import Execution, Schedule

JobKind = Literal["train", "evaluate"]
JobState = Literal["queued", "starting", "running", "succeeded", "stopped", "failed", "cancelled"]


class LayerUse(Strict):
    """A layer, and the alias by which an assembly refers to it."""

    alias: str
    layer: str


class SourceIn(SourceOptions):
    """Data of a stage: a dataset, the layers over it, and how its text is assembled."""

    dataset: DatasetRef
    layers: list[LayerUse] = []


STAGE_IN: dict[str, Any] = {
    "name": "sft",
    **STAGE,
    "sources": [{"dataset": "web-sft", "assembly": {"policy": "conversations"}}],
}


class StageIn(Schedule):
    """A training stage, with datasets by name."""

    name: str
    sources: list[SourceIn] = Field(min_length=1)


class EarlyStopIn(Strict):
    """When to end a stage or the whole job before its last step."""

    stage: str = Field(description="The stage whose loss is watched.")
    metric: Literal["loss"] = "loss"
    patience_steps: int | None = Field(
        None,
        ge=1,
        description="End the stage if its best loss is this many steps old. The job continues "
        "with the next stage and produces a model.",
    )
    minimum_improvement: float = Field(
        0.0,
        ge=0,
        description="A loss counts as the best only if it is lower than the previous best by at "
        "least this much.",
    )
    max_loss: float | None = Field(
        None,
        description="Stop the job, without a model, if the loss at `at_step` is higher than this.",
    )
    at_step: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _says_when(self) -> EarlyStopIn:
        if (self.max_loss is None) != (self.at_step is None):
            raise ValueError("max_loss and at_step belong together: give both or neither")
        if self.patience_steps is None and self.max_loss is None:
            raise ValueError("give patience_steps, or max_loss with at_step")
        return self


class TrainIn(Execution):
    """What to train, and how."""

    init: Literal["new", "base", "continue"]
    preset: str = ""
    model: str = Field("", description="For `base` and `continue`: a model in the registry.")
    tokenizer_datasets: list[DatasetRef] = []
    stages: list[StageIn] = []
    seed: int = Field(0, ge=0, lt=2**63)
    accelerator: Literal["", "cpu", "gpu"] = Field(
        "", description="The device that each process uses; empty for the backend's default."
    )
    early_stop: EarlyStopIn | None = None


class EvaluateIn(Body):
    """A model and the benchmarks to evaluate it on."""

    model: str
    benchmarks: list[DatasetRef] = Field(min_length=1)
    max_new_tokens: int = Field(64, ge=1, le=4096)
    threads: int = Field(1, ge=1, le=1024, description="CPU threads.")
    accelerator: Literal["", "cpu", "gpu"] = Field("", description="As for a training job.")


class JobIn(Body):
    """A job for an execution backend."""

    model_config = example(
        name="baseline",
        run=RUN,
        train={"init": "base", "preset": "tiny", "model": BASE, "stages": [STAGE_IN]},
    )

    name: str = Field(max_length=200)
    priority: int = Field(
        0,
        ge=-(2**31),
        le=2**31 - 1,
        description="Order among the team's own jobs; a higher priority starts first.",
    )
    run: str = Field(
        "",
        max_length=200,
        description="The run that this job belongs to; usage is reported by run.",
    )
    seeds: list[Annotated[int, Field(ge=0, lt=2**63)]] = Field(
        [], max_length=64, description="Train once with each of these seeds, as separate jobs."
    )
    train: TrainIn | None = None
    evaluate: EvaluateIn | None = None


class SeedJob(Model):
    """One of the jobs of a job with several seeds."""

    seed: int
    job: str
    state: JobState
    model: str = ""
    result: dict[str, Any] = {}
    error: str = ""


class Job(Model):
    """A job and its progress."""

    model_config = example(
        id=JOB,
        name="baseline",
        kind="train",
        state="succeeded",
        attempt=1,
        run=RUN,
        model=MODEL,
        result={"loss": 1.92},
        seconds=184.2,
        created_at=AT,
        progress={"done": 1000, "total": 1000, "unit": "permille", "phase": "done"},
    )

    id: str
    name: str
    kind: JobKind
    state: JobState
    attempt: int
    run: str = ""
    priority: int = 0
    parent: str = Field("", description="The job with several seeds that this job is part of.")
    model: str = Field("", description="The model that it produced.")
    result: dict[str, Any] = {}
    error: str = Field("", description="Why it failed or was stopped.")
    seconds: float = 0.0
    created_at: float = Field(0.0, description="Seconds since 1970, like all times in this API.")
    seeds: list[SeedJob] = []
    progress: Progress


class LogPart(Model):
    """Part of a job's output."""

    model_config = example(
        text="step 300 loss 1.92\n", offset=8120, next=8139, size=8139, ended=True
    )

    text: str
    offset: int = Field(description="First byte of this part.")
    next: int = Field(description="Pass this as `offset` to get the following part.")
    size: int = Field(description="Size of the whole log so far, bytes.")
    ended: bool = Field(description="Whether the job has ended: no output follows after `size`.")


class File(Model):
    """A file's name, size and digest."""

    model_config = example(name="outcomes.jsonl", bytes=20_480, sha256=DIGEST)

    name: str
    bytes: int
    sha256: str = ""


_QUOTA: dict[str, Any] = {
    "gpu_hours": 500.0,
    "process_hours": None,
    "window": "month",
    "max_jobs": 4,
    "share": 2.0,
}


class QuotaIn(Body):
    """A team's quota; a limit of null means no limit."""

    model_config = example(**_QUOTA)

    gpu_hours: float | None = Field(None, ge=0)
    process_hours: float | None = Field(
        None, ge=0, description="Process-hours (processes x hours) of jobs without a GPU."
    )
    window: Literal["month", "30d"] = Field(
        "month",
        description="Period in which hours are counted: the calendar month (UTC), or the last "
        "30 days.",
    )
    max_jobs: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Maximum number of jobs at once."
    )
    share: float = Field(
        1.0, gt=0, description="Weight of the team when several teams wait for a slot."
    )


class Quota(QuotaIn):
    """A team's limits, and its usage in the current window."""

    model_config = example(
        **_QUOTA, team="vision", gpu_hours_used=41.5, running=2, set_by="1f0e3dad"
    )

    team: str
    gpu_hours_used: float = 0.0
    process_hours_used: float = 0.0
    running: int = 0
    set_by: str = Field("", description="Key that set the quota; empty if the defaults apply.")


class Usage(Model):
    """Usage of a team or of one of its runs."""

    model_config = example(
        team="vision", run=RUN, gpu_hours=41.5, process_hours=0.0, jobs=9, attempts=11
    )

    team: str
    run: str = Field(
        "", description="Empty for the usage of a whole team, or of jobs that belong to no run."
    )
    gpu_hours: float
    process_hours: float
    jobs: int
    attempts: int


class LineageItem(Model):
    """Data of one stage, with the dataset version that was read."""

    stage: str
    dataset: str
    version: int
    sha256: str = ""
    licence: str = ""
    samples: int = 0
    layers: list[dict[str, str]] = Field(
        [], description="Alias, layer, name, recipe_hash and captioner of each layer."
    )
    assembly: dict[str, Any] = {}


class Figure(Model):
    """A statistic of a metric other than its mean, over all items or those of one kind."""

    name: str = Field(max_length=100)
    kind: str = Field("", max_length=200, description="Empty for items of all kinds.")
    n: int = Field(ge=0)
    value: float = Field(allow_inf_nan=False)
    low: float | None = Field(None, allow_inf_nan=False)
    high: float | None = Field(None, allow_inf_nan=False)


class Evaluation(Model):
    """A model's score on a version of a benchmark, and its source."""

    model: str
    benchmark: str
    version: str = Field(description="Dataset version(s) evaluated on, NAME@VERSION.")
    value: float
    low: float | None = Field(description="Lower end of the interval; null if unknown.")
    high: float | None
    items: int
    job: str = Field(description="The evaluation job or import that produced it.")
    at: float
    metric: str = ""
    source: str = Field(
        "", description="The program that computed it; empty for an evaluation on this platform."
    )
    figures: list[Figure] = []

    def interval(self, digits: int = 3) -> str:
        """The interval as text."""
        if self.low is None or self.high is None:
            return "no interval"
        return f"{self.low:z.{digits}f} to {self.high:z.{digits}f}"


class ImportedScore(Body):
    """A score computed by another program; stored under the benchmark SOURCE/BENCHMARK."""

    benchmark: str = Field(min_length=1, max_length=150)
    version: str = Field(max_length=200, description="The program's version of the benchmark.")
    metric: str = Field(max_length=100)
    value: float = Field(allow_inf_nan=False)
    low: float | None = Field(None, allow_inf_nan=False)
    high: float | None = Field(None, allow_inf_nan=False)
    items: Count

    @model_validator(mode="after")
    def _whole_interval(self) -> ImportedScore:
        if (self.low is None) != (self.high is None):
            raise ValueError("low and high belong together: give both or neither")
        return self


class ImportedOutcome(Body):
    """A model's answer to one item of another program's benchmark."""

    benchmark: str = Field(min_length=1, max_length=150)
    item: str = Field(min_length=1, max_length=200)
    answer: str = Field(max_length=32_000)
    expected: str = Field(max_length=32_000)
    scores: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        {}, description="Numeric scores by metric."
    )


class ImportIn(Body):
    """Another program's results for a model. Importing the same content again has no effect."""

    model_config = example(
        source="lmms-eval",
        scores=[
            {
                "benchmark": "mme",
                "version": "1.0",
                "metric": "accuracy",
                "value": 0.61,
                "items": 2374,
            }
        ],
        about={"date": "2026-06-01"},
    )

    source: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,38}$", examples=["lmms-eval"])
    scores: list[ImportedScore] = Field(min_length=1, max_length=2000)
    outcomes: list[ImportedOutcome] = Field([], max_length=200_000)
    about: dict[str, str] = Field(
        {}, description="Facts about the run, such as its date and arguments."
    )


class Imported(Model):
    """An import, and the number of scores and outcomes in it."""

    model_config = example(id="import-8fa14cdd754f", model=MODEL, scores=1, outcomes=0)

    id: str
    model: str
    scores: int
    outcomes: int


_REGISTERED: dict[str, Any] = {
    "name": MODEL,
    "sha256": DIGEST,
    "parent": BASE,
    "job": JOB,
    "object_prefix": f"models/{MODEL}",
    "parameters": 1_204_736,
    "data": ["web-photos@1", "web-sft@1"],
    "created_at": AT,
}


class RegisteredModel(Model):
    """A model of the registry."""

    model_config = example(**_REGISTERED)

    name: str
    sha256: str
    parent: str
    job: str
    object_prefix: str
    parameters: int
    short_name: str = Field(
        "", description="The name under which it was added; empty if it was trained here."
    )
    origin: ModelOrigin | None = Field(None, description="Null if it was trained here.")
    removed: bool = Field(
        False, description="True if its files were deleted; it cannot be used any more."
    )
    data: list[str]
    created_at: float = 0.0


class ModelDetails(RegisteredModel):
    """A model with its files, lineage, configuration and scores."""

    model_config = example(
        **_REGISTERED, files=[{"name": "model.safetensors", "bytes": 4_818_944, "sha256": DIGEST}]
    )

    run: str = ""
    files: list[File] = []
    lineage: list[LineageItem] = []
    config: dict[str, Any] = Field({}, description="The training job as requested.")
    result: dict[str, Any] = Field({}, description="The result reported by the trainer.")
    evaluations: list[Evaluation] = []


class Serving(Model):
    """The endpoints that serve a model."""

    model_config = example(endpoints=["captioner"], standby=[])

    endpoints: list[str] = Field(description="Endpoints that serve it now.")
    standby: list[str] = Field(description="Endpoints that would roll back to it.")
