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
from vila2.schemas.text import Prompts

CaptionJobState = Literal["running", "paused", "sealed", "failed", "cancelled"]
DeploymentState = Literal["deploying", "active", "draining", "retired", "failed"]
Mode = Literal["overwrite", "keep", "append"]
_SYSTEM = "A system message before each prompt, for models that take one."
_SCORE = "Store each caption's consistency score; `gate.min_consistency` does so too."


class CaptionJobIn(Body):
    """Caption a dataset version: creates a layer, and one work unit per shard."""

    model_config = example(name="round 1", dataset="web-photos", model=MODEL, prompts=[PROMPT])

    name: str
    dataset: str
    version: Count = Field(0, description="0 is the newest version.")
    model: str
    prompts: Prompts
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    task: Task = "general"
    mode: Mode = Field(
        "overwrite",
        description="With a base layer: `overwrite` captions every sample again, `keep` "
        "captions only samples that have no caption in it, and `append` adds a new "
        "caption to each existing one.",
    )
    base_layer: str = Field(
        "",
        description="A sealed layer to start from; required for `keep` and `append`. It must be "
        "of the same version. With `keep` it may also be of an earlier version: "
        "captions of unchanged samples are reused.",
    )
    score: bool = Field(False, description=_SCORE)
    system: str = Field("", max_length=8000, description=_SYSTEM)
    budget: float | None = Field(
        None,
        gt=0,
        description="Pause before the cost exceeds this amount, in the currency of the model's "
        "prices.",
    )
    run: str = Field(
        "",
        max_length=200,
        description="The run that this job belongs to; use it to find the job's logs.",
    )


class CaptionJob(Model):
    """A caption job, and the layer that it writes."""

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
    tokens: int = Field(0, description="Tokens generated in the last attempt at each image.")
    seconds: float = Field(0.0, description="Worker time in seconds, summed over finished shards.")
    cost: float = Field(
        0.0, description="Cost of all answers, including rejected attempts, at the model's prices."
    )
    budget: float | None = Field(None, description="The job pauses before its cost exceeds this.")
    created_at: float = Field(0.0, description="Seconds since 1970.")
    error: str = ""
    progress: Progress
    waiting_until: float | None = Field(
        None,
        description="No shard starts before this time (seconds since 1970); `progress.phase` "
        "gives the reason.",
    )


class ResumeIn(Body):
    """Options for resuming a paused job."""

    model_config = example(budget=20.0)

    budget: float | None = Field(
        None, gt=0, description="The new budget; null keeps the current one."
    )


class ImageQuota(Model):
    """The number of images that a team has captioned today (UTC), and its daily limit."""

    model_config = example(team="photos", images_per_day=1_000_000, images_today=4000, resets_at=AT)

    team: str
    images_per_day: int | None = Field(description="Null if there is no limit.")
    images_today: int
    resets_at: float = Field(description="When the count resets, in seconds since 1970.")


class FailedShard(Model):
    """A shard that failed after its last attempt."""

    shard: int
    attempts: int
    error: str


class QuarantinedSample(Model):
    """A sample without a caption, and the text that the last attempt produced."""

    key: str
    shard: int
    reason: str
    attempts: int
    prompt: str
    text: str


class Failures(Model):
    """Failed shards and quarantined samples of a layer, starting at shard `first`."""

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
    next: int | None = Field(description="Pass this as `first` to get the rest; null at the end.")


class CaptionsIn(Body):
    """Images to caption synchronously, with the same prompts, gate and retries as a job."""

    model_config = example(model=MODEL, images=[PIXEL], prompts=[PROMPT])

    model: str
    images: list[str] = Field(
        min_length=1, max_length=64, description="Data URLs (data:image/...;base64,...) or base64."
    )
    prompts: Prompts = Field(examples=[["Describe the image briefly."]])
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    task: Task = "general"
    score: bool = Field(False, description=_SCORE)
    system: str = Field("", max_length=8000, description=_SYSTEM)


class PreviewIn(Body):
    """Caption a few samples of a dataset synchronously, as a job would."""

    model_config = example(dataset="web-photos", keys=["p0"], model=MODEL, prompts=[PROMPT])

    dataset: str
    version: Count = Field(0, description="0 is the newest version.")
    shard: Count | None = Field(
        None, description="The shard that holds the samples, if known: no other shard is read."
    )
    keys: list[str] = Field(
        [], max_length=64, description="Keys of the samples; if empty, `count` samples are drawn."
    )
    count: int = Field(
        8, ge=1, le=64, description="Number of samples to draw with `seed` if `keys` is empty."
    )
    model: str
    prompts: Prompts
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    task: Task = "general"
    score: bool = Field(False, description=_SCORE)
    system: str = Field("", max_length=8000, description=_SYSTEM)


class Requirement(Body):
    """The minimum score that the newest evaluation on a benchmark must reach."""

    benchmark: str = Field(min_length=1, max_length=200)
    minimum: float = Field(allow_inf_nan=False)
    bound: Literal["value", "low"] = Field(
        "value",
        description="The value that must reach the minimum: the score, or the lower end of its "
        "interval.",
    )


_REQUIREMENT = {"benchmark": "shapes-vqa", "minimum": 0.5, "bound": "low"}


class DeploymentIn(Body):
    """Deploy a model to an endpoint if it meets the requirements."""

    model_config = example(
        model=MODEL, golden=True, require=[_REQUIREMENT], note="best of two rounds"
    )

    model: str
    golden: bool = Field(
        True,
        description="Compare the model's answers with those recorded by the trainer before "
        "deploying it.",
    )
    require: list[Requirement] = Field(
        [],
        max_length=100,
        description="Requirements, checked against the registry's evaluations when the request "
        "is made.",
    )
    note: str = Field(
        "", max_length=2000, description="A free-text note, stored with the deployment."
    )


class CertificateCheck(Model):
    """One comparison of a served model with what its trainer recorded."""

    name: str
    passed: bool | None = Field(description="Null if it could not be made; `detail` says why.")
    value: float | None = Field(description="What was found; null if it is not a number.")
    bound: float | None = Field(description="What was allowed.")
    detail: str = ""


class Certificate(Model):
    """How a model answers in one engine, compared with what its trainer recorded."""

    engine: str
    version: str = Field(description="Of the inference program.")
    items: int = Field(description="Number of golden questions.")
    checks: list[CertificateCheck] = []
    reason: str = Field("", description="Why it was not given; empty if every check passed.")
    at: float = Field(description="When it was decided, in seconds since 1970.")


_CERTIFICATE = {
    "engine": "triton-vllm",
    "version": "2.51.0",
    "items": 8,
    "checks": [
        {"name": "golden set", "passed": True, "value": 8, "bound": 8},
        {"name": "greedy answers", "passed": True, "value": 1.0, "bound": 0.75},
        {"name": "log-probabilities", "passed": True, "value": 0.0002, "bound": 0.05},
    ],
    "at": AT,
}
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
    "certificate": _CERTIFICATE,
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
    """A deployment of a model to an endpoint, with the results of its checks."""

    model_config = example(**_DEPLOYMENT)

    id: str
    endpoint: str
    model: str
    state: DeploymentState
    by: str = Field(description="Prefix of the key that made the request.")
    note: str = ""
    at: float = Field(description="When it was requested, in seconds since 1970.")
    error: str = Field("", description="All reasons why it failed.")
    require: list[Requirement] = []
    digest: str = Field(
        "", description="Digest of the stored weights; empty until they are checked."
    )
    evaluations: list[Evaluation] = Field(
        [],
        description="The newest evaluation on each required benchmark, used to check the "
        "requirements.",
    )
    certificate: Certificate | None = Field(
        None, description="How it answered the golden set; null if it was not asked."
    )


class Endpoint(Model):
    """A stable name for a model that can be replaced; requests use it like a model's name."""

    model_config = example(name="captioner", model=MODEL, deployments=[_DEPLOYMENT])

    name: str
    model: str = Field(
        description="The model that serves requests; empty before the first deployment."
    )
    previous: str = ""
    deployments: list[Deployment]


class PreviewCaption(Model):
    """A caption as it would be stored in the layer."""

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
    """The requested captions, in order, and the time, tokens and cost that they took."""

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
    seconds: float = Field(0.0, description="Time in seconds, without loading the model.")
    prompt_tokens: int = 0
    tokens: int = Field(0, description="Generated tokens, including rejected attempts.")
    cost: float = Field(0.0, description="Cost at the model's prices.")


class Estimate(Model):
    """Estimated time, tokens and cost of captioning a version, extrapolated from a few samples."""

    model_config = example(
        samples=4000, sampled=8, seconds=516.0, prompt_tokens=1_184_000, tokens=91_724, cost=0.0
    )

    samples: int = Field(description="Number of samples to caption.")
    sampled: int = Field(description="Number of samples captioned for this estimate.")
    seconds: float = Field(
        description="Time in seconds for one worker. A job is faster, because its batches are "
        "larger."
    )
    prompt_tokens: int
    tokens: int
    cost: float = Field(description="Cost at the model's prices; 0 if it has none.")
