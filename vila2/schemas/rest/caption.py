"""REST models of the caption service."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from vila2.schemas.rest.base import Body, Count, Model, Progress
from vila2.schemas.rest.examples import (
    AT,
    CAPTION,
    DIGEST,
    DONE,
    JOB,
    LAYER,
    MODEL,
    PIXEL,
    PROMPT,
    example,
)
from vila2.schemas.rest.training import Evaluation
from vila2.schemas.sampling import Gate, Sampling, Task

CaptionJobState = Literal["running", "paused", "sealed", "failed", "cancelled"]
DeploymentState = Literal["deploying", "active", "draining", "retired", "failed"]
Mode = Literal["overwrite", "keep", "append"]
_SYSTEM = "A system message before each prompt, for models that take one."
_SCORE = "Store each caption's consistency score; `gate.min_consistency` does so too."


class CaptionJobIn(Body):
    """Caption a dataset version: it becomes work units, one per shard, and a layer."""

    model_config = example(name="round 1", dataset="web-photos", model=MODEL, prompts=[PROMPT])

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
    base_layer: str = Field(
        "",
        description="For keep and append: a sealed layer of the same version. For keep also of an "
        "earlier version, whose captions of unchanged samples are then taken over.",
    )
    score: bool = Field(False, description=_SCORE)
    system: str = Field("", max_length=8000, description=_SYSTEM)
    budget: float | None = Field(
        None,
        gt=0,
        description="Pause before the cost exceeds this, in the currency of the model's prices.",
    )
    run: str = Field("", max_length=200, description="What it is done for; logs are found by it.")


class CaptionJob(Model):
    """A layer in the making."""

    model_config = example(
        id="captions-0a1b2c3d4e5f",
        layer=LAYER,
        name="round 1",
        dataset="web-photos",
        version=1,
        model=MODEL,
        state="sealed",
        captioned=3988,
        quarantined={"repetition": 12},
        tokens=91_724,
        seconds=412.5,
        progress=DONE,
    )

    id: str
    layer: str
    name: str
    dataset: str
    version: int
    model: str
    state: CaptionJobState
    captioned: int = 0
    quarantined: dict[str, int] = {}
    tokens: int = Field(0, description="Generated, in the last attempt at each image.")
    seconds: float = Field(0.0, description="That workers took, summed over finished shards.")
    cost: float = Field(0.0, description="Of all answers, by the model's prices.")
    budget: float | None = Field(None, description="The job pauses before its cost exceeds this.")
    error: str = ""
    progress: Progress
    waiting_until: float | None = Field(
        None,
        description="Seconds since 1970: no shard is begun before, and `progress.phase` says why.",
    )


class ResumeIn(Body):
    """How a paused job goes on."""

    model_config = example(budget=20.0)

    budget: float | None = Field(None, gt=0, description="A new budget; null keeps the present.")


class ImageQuota(Model):
    """A team's images of the present UTC day."""

    model_config = example(team="photos", images_per_day=1_000_000, images_today=4000, resets_at=AT)

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

    model_config = example(
        shards=[{"shard": 1, "attempts": 4, "error": "the shard does not open"}],
        samples=[
            {
                "key": "p8",
                "shard": 0,
                "reason": "repetition",
                "attempts": 3,
                "prompt": PROMPT,
                "text": "a fox a fox a fox",
            }
        ],
        next=None,
    )

    shards: list[FailedShard]
    samples: list[QuarantinedSample]
    next: int | None = Field(description="Give this as `first` for the rest; null: the end.")


class CaptionsIn(Body):
    """Images to caption now, by exactly the batch's path."""

    model_config = example(model=MODEL, images=[PIXEL], prompts=[PROMPT])

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
    system: str = Field("", max_length=8000, description=_SYSTEM)


class PreviewIn(Body):
    """Caption a few samples of a dataset now, by exactly the batch's path."""

    model_config = example(dataset="web-photos", keys=["p0"], model=MODEL, prompts=[PROMPT])

    dataset: str
    version: Count = Field(0, description="0 takes the newest.")
    shard: Count | None = Field(
        None, description="Where the samples are, if it is known: no other shard is read."
    )
    keys: list[str] = Field([], max_length=64, description="Which samples; empty draws `count`.")
    count: int = Field(8, ge=1, le=64, description="How many to draw, by `seed`, without keys.")
    model: str
    prompts: list[str] = Field(min_length=1)
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    task: Task = "general"
    score: bool = Field(False, description=_SCORE)
    system: str = Field("", max_length=8000, description=_SYSTEM)


class Requirement(Body):
    """What the newest evaluation of a benchmark must reach."""

    benchmark: str = Field(min_length=1, max_length=200)
    minimum: float = Field(allow_inf_nan=False)
    bound: Literal["value", "low"] = Field(
        "value", description="What must reach the minimum: the score, or its interval's low end."
    )


_REQUIREMENT = {"benchmark": "shapes-vqa", "minimum": 0.5, "bound": "low"}


class DeploymentIn(Body):
    """Put a model behind an endpoint, if it meets the requirements."""

    model_config = example(
        model=MODEL, golden=True, require=[_REQUIREMENT], note="best of two rounds"
    )

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


_DEPLOYMENT: dict[str, Any] = {
    "id": "deployment-2f1e0d9c8b7a",
    "endpoint": "captioner",
    "model": MODEL,
    "state": "active",
    "by": "1f0e3dad",
    "note": "best of two rounds",
    "at": AT,
    "require": [_REQUIREMENT],
    "digest": DIGEST,
    "golden": {"items": 16, "same": 16, "drift": 0.0002},
    "evaluations": [
        {
            "model": MODEL,
            "benchmark": "shapes-vqa",
            "version": "shapes-vqa@1",
            "value": 0.58,
            "low": 0.54,
            "high": 0.62,
            "items": 600,
            "job": JOB,
            "at": AT,
        }
    ],
}


class Deployment(Model):
    """A model that was deployed to an endpoint, with what it was checked against."""

    model_config = example(**_DEPLOYMENT)

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

    model_config = example(name="captioner", model=MODEL, deployments=[_DEPLOYMENT])

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
    logprob: float | None
    consistency: float | None = None


class Preview(Model):
    """The captions that were asked for, in order, and what they took."""

    model_config = example(
        captions=[
            {
                "key": "p0",
                "caption": CAPTION,
                "status": "ok",
                "reason": "",
                "prompt": PROMPT,
                "attempt": 0,
                "tokens": 12,
                "logprob": -0.41,
            }
        ]
    )

    captions: list[PreviewCaption]
    seconds: float = Field(0.0, description="With the model loaded.")
    prompt_tokens: int = 0
    tokens: int = Field(0, description="Generated, in rejected attempts too.")
    cost: float = Field(0.0, description="By the model's prices.")


class Estimate(Model):
    """What captioning a whole version would take, by a few of its samples."""

    model_config = example(
        samples=4000, sampled=8, seconds=516.0, prompt_tokens=1_184_000, tokens=91_724, cost=0.0
    )

    samples: int = Field(description="To caption.")
    sampled: int = Field(description="Captioned for this estimate.")
    seconds: float = Field(description="For one worker; batches of a job are faster than a sample.")
    prompt_tokens: int
    tokens: int
    cost: float = Field(description="By the model's prices; 0 without any.")
