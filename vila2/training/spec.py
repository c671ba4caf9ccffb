"""What a training job is told: one JSON file that names everything it reads and writes.

The dispatcher writes it, the trainer obeys it, and its hash decides whether a checkpoint may be
resumed. No torch here, so that a service can build a spec without it.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vila2.data.assembly import Assembly

PartName = Literal["vision", "projector", "language"]
KeepBy = Literal["logprob", "consistency"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Source(_Strict):
    """Shards, the layers over them, and how their text is assembled."""

    name: str
    shards: list[str] = Field(min_length=1, description="Paths of WebDataset tars.")
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

    kind: Literal["adamw", "muon"] = "adamw"
    muon_lr_scale: float = Field(5.0, gt=0, description="Muon's learning rate over AdamW's.")
    weight_decay: float = Field(0.0, ge=0)
    betas: tuple[float, float] = (0.9, 0.95)
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of the stage's steps.")
    clip: float = Field(1.0, gt=0, description="Gradient norm limit.")
    final_lr: float = Field(0.0, ge=0, le=1, description="Learning rate at the end / at the top.")


class Stage(_Strict):
    """One stage: which parts learn, on what, for how long."""

    name: str
    steps: int = Field(ge=1)
    batch_size: int = Field(ge=1, description="Samples per optimiser step, over all processes.")
    lr: float = Field(gt=0)
    trainable: list[PartName] = Field(min_length=1)
    lr_scale: dict[PartName, float] = Field(default_factory=dict)
    optimiser: Optimiser = Optimiser()
    sources: list[Source] = Field(min_length=1)


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
    checkpoint_seconds: float = Field(20.0, gt=0)

    def digest(self) -> str:
        """Hash over everything that decides the result; where files are written does not."""
        fields = self.model_dump(exclude={"output", "cache", "checkpoint_seconds", "threads"})
        return hashlib.sha256(repr(fields).encode()).hexdigest()[:16]
