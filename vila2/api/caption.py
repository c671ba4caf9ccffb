"""REST models of the caption service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vila2.api.base import Body, Count, Model, Progress
from vila2.api.training import Evaluation
from vila2.schemas.sampling import Gate, Sampling, Task

LayerJobState = Literal["running", "paused", "sealed", "failed", "cancelled"]
DeploymentState = Literal["deploying", "active", "draining", "retired", "failed"]
Mode = Literal["overwrite", "keep", "append"]
_SCORE = "Store each caption's consistency score; `gate.min_consistency` does so too."


class LayerJobIn(Body):
    """Caption a dataset version: it becomes work units, one per shard, and a layer."""

    name: str
    dataset: str
    version: Count = Field(0, description="0 takes the newest.")
    model: str
    prompts: list[str] = Field(min_length=1)
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    task: Task = "general"
    mode: Mode = Field(
        "overwrite",
        description="With a base layer: caption every sample anew; keep its captions and make "
        "those that it lacks; or append a new caption to each of its own.",
    )
    base_layer: str = Field("", description="A sealed layer of the same version, for keep, append.")
    score: bool = Field(False, description=_SCORE)
    token: str = Field("", max_length=180, description="The same token gives the same job.")
    run: str = Field("", max_length=200, description="What it is done for; logs are found by it.")


class LayerJob(Model):
    """A layer in the making."""

    id: str
    layer: str
    name: str
    dataset: str
    version: int
    model: str
    state: LayerJobState
    captioned: int = 0
    quarantined: dict[str, int] = {}
    tokens: int = Field(0, description="Of the captions that ended an attempt at their picture.")
    seconds: float = Field(0.0, description="That workers took, summed over finished shards.")
    error: str = ""
    progress: Progress
    waiting_until: float | None = Field(
        None,
        description="Seconds since 1970: no shard is begun before, and `progress.phase` says why.",
    )


class ImageQuota(Model):
    """A team's images of the present UTC day."""

    team: str
    images_per_day: int | None = Field(description="Null: no limit.")
    images_today: int
    resets_at: float = Field(description="Seconds since 1970.")


class FailedShard(Model):
    """A shard whose unit gave up."""

    shard: int
    attempts: int
    error: str


class QuarantinedSample(Model):
    """A sample without a caption, and the last text that was refused."""

    key: str
    shard: int
    reason: str
    attempts: int
    prompt: str
    text: str


class Failures(Model):
    """What went wrong in a layer so far, from shard `first` on."""

    shards: list[FailedShard]
    samples: list[QuarantinedSample]
    next: int | None = Field(description="Give this as `first` for the rest; null: the end.")


class CaptionsIn(Body):
    """Pictures to caption now, by exactly the batch's path."""

    model: str
    images: list[str] = Field(
        min_length=1, max_length=64, description="Data URLs (data:image/...;base64,...) or base64."
    )
    prompts: list[str] = Field(min_length=1, examples=[["Describe the image briefly."]])
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    task: Task = "general"
    score: bool = Field(False, description=_SCORE)


class PreviewIn(Body):
    """Caption a few samples of a dataset now, by exactly the batch's path."""

    dataset: str
    version: Count = Field(0, description="0 takes the newest.")
    shard: Count | None = Field(
        None, description="Where the samples are, if it is known: no other shard is read."
    )
    keys: list[str] = Field(min_length=1, max_length=64)
    model: str
    prompts: list[str] = Field(min_length=1)
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    task: Task = "general"
    score: bool = Field(False, description=_SCORE)


class Requirement(Body):
    """What the newest evaluation of a benchmark must reach."""

    benchmark: str = Field(min_length=1, max_length=200)
    minimum: float = Field(allow_inf_nan=False)
    bound: Literal["value", "low"] = Field(
        "value", description="What must reach the minimum: the score, or its interval's low end."
    )


class DeploymentIn(Body):
    """Put a model behind an endpoint, if it meets the requirements."""

    model: str
    golden: bool = Field(
        True, description="Compare its answers with the trainer's own before it is used."
    )
    require: list[Requirement] = Field(
        [],
        max_length=100,
        description="Checked against the registry's evaluations at the time of the request.",
    )
    note: str = Field("", max_length=2000, description="Kept with the deployment.")


class GoldenResult(Model):
    """How the served model's answers compare with the trainer's."""

    items: int
    same: int
    drift: float | None = Field(
        description="Mean distance of the log-probabilities, nats per token; null: not a number."
    )
    reason: str = ""


class Deployment(Model):
    """A model that was deployed to an endpoint, with what it was checked against."""

    id: str
    endpoint: str
    model: str
    state: DeploymentState
    by: str = Field(description="The key that asked.")
    note: str = ""
    at: float = Field(description="When it was asked for, seconds since 1970.")
    error: str = Field("", description="Every reason why it failed.")
    require: list[Requirement] = []
    digest: str = Field("", description="Of the stored weights; empty until they are checked.")
    evaluations: list[Evaluation] = Field(
        [], description="The newest of each required benchmark, by which it was decided."
    )
    golden: GoldenResult | None = Field(None, description="Null: the model was not asked.")


class Endpoint(Model):
    """A name that stays while the models behind it change; asked like a model."""

    name: str
    model: str = Field(description="What answers now; empty before the first deployment.")
    previous: str = ""
    deployments: list[Deployment]


class PreviewCaption(Model):
    """A caption as the layer would hold it."""

    key: str
    caption: str
    status: str
    reason: str
    prompt: str
    attempt: int
    tokens: int
    logprob: float
    consistency: float | None = None


class Preview(Model):
    """The captions that were asked for, in order."""

    captions: list[PreviewCaption]
