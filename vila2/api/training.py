"""REST models of the training dispatcher and the model registry."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from vila2.api.base import Model, Progress

JobKind = Literal["train", "evaluate"]
JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]


class LayerUse(Model):
    """A layer under the name by which an assembly refers to it."""

    alias: str
    layer: str


class SourceIn(Model):
    """Data of a stage: a dataset, the layers over it, and how its text is assembled."""

    dataset: str
    layers: list[LayerUse] = []
    assembly: dict[str, Any]
    repeat: float = 1.0
    shuffle_captions: bool = False
    keep_fraction: dict[str, float] = {}
    keep_by: dict[str, Literal["logprob", "consistency"]] = {}


class StageIn(Model):
    """A stage as the trainer's spec has it, with datasets by name."""

    name: str
    steps: int
    batch_size: int
    lr: float
    trainable: list[str]
    lr_scale: dict[str, float] = {}
    optimiser: dict[str, Any] = {}
    batch_tokens: int = Field(0, description="Tokens per step in place of samples; needs `pack`.")
    pack: int = Field(0, description="Tokens of a row of packed samples; 0 pads instead.")
    micro_batch: int = 0
    lora: dict[str, Any] | None = None
    sources: list[SourceIn]


class TrainIn(Model):
    """What to train."""

    init: Literal["new", "base", "continue"]
    preset: str = ""
    model: str = Field("", description="For base and continue: the registry's model.")
    tokenizer_datasets: list[str] = []
    stages: list[StageIn] = []
    seed: int = 0
    processes: int = 1
    threads: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    cache_features: bool = False
    parallel: Literal["ddp", "fsdp"] = "ddp"
    activation_checkpointing: bool = False


class EvaluateIn(Model):
    """What to evaluate."""

    model: str
    benchmarks: list[str] = Field(min_length=1)
    max_new_tokens: int = 64
    threads: int = 1


class JobIn(Model):
    """A job for an execution backend; the same token gives the same job."""

    name: str
    token: str = Field(min_length=1, max_length=200)
    priority: int = Field(0, description="Higher runs first.")
    train: TrainIn | None = None
    evaluate: EvaluateIn | None = None


class Job(Model):
    """A job and how far it is."""

    id: str
    name: str
    kind: JobKind
    state: JobState
    attempt: int
    model: str = Field("", description="The model it made.")
    result: dict[str, Any] = {}
    error: str = ""
    seconds: float = 0.0
    progress: Progress


class RegisteredModel(Model):
    """A model of the registry."""

    name: str
    sha256: str
    parent: str
    job: str
    object_prefix: str
    parameters: int
    data: list[str]
