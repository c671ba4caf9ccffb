"""What a training job is told: one JSON file that names everything it reads and writes.

The dispatcher writes it, the trainer obeys it, and its hash decides whether a checkpoint may be
resumed. No torch here, so that a service can build a spec without it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vila2.data.assembly import Assembly

PartName = Literal["vision", "projector", "language"]
KeepBy = Literal["logprob", "consistency"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Shards, the layers over them, and how their text is assembled."""

    name: str
    shards: list[str] = Field(min_length=1, description="Paths of WebDataset tars.")
    sizes: list[int] = Field(
        default_factory=list, description="Samples of each shard; empty reads the shards' indexes."
    )
    layers: dict[str, list[str]] = Field(
        default_factory=dict, description="Layer name -> Parquet paths, one per shard, in order."
    )
    assembly: Assembly
    repeat: float = Field(1.0, gt=0, description="Passes over this source within one epoch.")
    shuffle_captions: bool = Field(
        False,
        description="Control: give every picture another picture's captions (seeded).",
    )
    keep_fraction: dict[str, float] = Field(
        default_factory=dict,
        description="Layer name -> share of its captions kept, the most confident first.",
    )
    keep_by: dict[str, KeepBy] = Field(
        default_factory=dict,
        description="Layer name -> what tells which captions to keep first; logprob unless named.",
    )


class Optimiser(_Strict):
    """Muon (Jordan et al. 2024) for hidden matrices and AdamW for the rest, or AdamW alone."""

    kind: Literal["adamw", "muon"] = Field(
        "adamw", description="AdamW for all, or Muon for hidden matrices."
    )
    muon_lr_scale: float = Field(5.0, gt=0, description="Muon's learning rate over AdamW's.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled from the gradient.")
    betas: tuple[float, float] = Field((0.9, 0.95), description="AdamW's two decay rates.")
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of the stage's steps.")
    clip: float = Field(1.0, gt=0, description="Gradient norm limit.")
    final_lr: float = Field(0.0, ge=0, le=1, description="Learning rate at the end / at the top.")


class Lora(_Strict):
    """Low-rank adapters on the language part's matrices (Hu et al. 2021), merged at the end."""

    rank: int = Field(16, ge=1, description="Of the adapters.")
    alpha: float = Field(32.0, gt=0, description="Their scale, times 1 / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Before them.")


class Stage(_Strict):
    """One stage: which parts learn, on what, for how long."""

    name: str
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="Samples per optimiser step, over all processes.")
    batch_tokens: int = Field(
        0, ge=0, description="Tokens per step instead, over all processes; needs `pack`."
    )
    pack: int = Field(
        0, ge=0, description="Join samples into rows of at most so many tokens; 0 pads instead."
    )
    micro_batch: int = Field(
        0, ge=0, description="Padded: samples of one forward pass of a process; 0 takes its share."
    )
    lora: Lora | None = Field(None, description="Adapters in place of the language part's weights.")
    lr: float = Field(gt=0)
    trainable: list[PartName] = Field(min_length=1)
    lr_scale: dict[PartName, float] = Field(default_factory=dict)
    optimiser: Optimiser = Optimiser()
    sources: list[Source] = Field(min_length=1)

    @model_validator(mode="after")
    def _consistent(self) -> Stage:
        if self.batch_tokens and not self.pack:
            raise ValueError("batch_tokens needs `pack`: set how many tokens one row may hold")
        if self.batch_tokens and self.batch_tokens < self.pack:
            raise ValueError("batch_tokens must be at least `pack`, the tokens of one row")
        if self.lora and "language" not in self.trainable:
            raise ValueError("lora adapts the language part: put `language` into `trainable`")
        return self


class NewModel(_Strict):
    """Compose a model from a preset; its tokenizer, if trained, learns from these sources."""

    kind: Literal["new"]
    preset: str
    tokenizer_sources: list[Source] = Field(default_factory=list)


class FromBase(_Strict):
    """Start from the base's vision and language weights with a fresh projector."""

    kind: Literal["base"]
    path: str


class Continue(_Strict):
    """Go on from a trained model as it is (specialists)."""

    kind: Literal["continue"]
    path: str


Init = Annotated[NewModel | FromBase | Continue, Field(discriminator="kind")]


_BESIDE_THE_RESULT = {
    "output", "cache", "checkpoint_seconds", "threads", "picture_memory", "loaders", "tensorboard",
}  # fmt: skip


class TrainSpec(_Strict):
    """A training job. Every path is local to the machine that trains."""

    init: Init
    stages: list[Stage] = Field(default_factory=list)
    seed: int = 0
    output: str = Field(description="Folder for the model, checkpoints, progress and metrics.")
    cache: str = Field(description="Folder for cached pictures and features, shared by jobs.")
    cache_features: bool = Field(
        False, description="Cache the vision tower's output; it must be frozen in every stage."
    )
    threads: int = Field(1, ge=1, description="CPU threads of each process.")
    precision: Literal["fp32", "bf16"] = "fp32"
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp", description="Copies of the model, or shards of it (FSDP2, ZeRO-3), over processes."
    )
    activation_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass instead of keeping them."
    )
    window: int = Field(16, ge=1, description="Shards of a source that are shuffled together.")
    picture_memory: int = Field(1024, ge=0, description="MiB of decoded pictures that are kept.")
    loaders: int = Field(2, ge=1, description="Threads that decode pictures ahead of the steps.")
    tensorboard: bool = Field(False, description="Also write TensorBoard's event files.")
    checkpoint_seconds: float = Field(20.0, gt=0)

    def digest(self) -> str:
        """Hash over everything that decides the result; where files are written does not."""
        fields = self.model_dump(exclude=_BESIDE_THE_RESULT)
        return hashlib.sha256(repr(fields).encode()).hexdigest()[:16]
