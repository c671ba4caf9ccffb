"""Training stages and how they run: the same fields in recipes, REST and job specs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vila2.schemas.base import Strict

PartName = Literal["vision", "projector", "language"]


class Optimizer(Strict):
    """Muon (Jordan et al. 2024) for hidden matrices and AdamW for the rest, or AdamW alone."""

    kind: Literal["adamw", "muon"] = Field(
        "adamw",
        description="AdamW for all weights, or Muon for hidden matrices and AdamW for the rest.",
    )
    muon_lr_scale: float = Field(5.0, gt=0, description="Muon's learning rate divided by AdamW's.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled weight decay.")
    betas: tuple[float, float] = Field(
        (0.9, 0.95), strict=False, description="AdamW's decay rates of the first and second moment."
    )
    warmup: float = Field(0.03, ge=0, lt=1, description="Warmup as a share of the stage's steps.")
    clip: float = Field(1.0, gt=0, description="Maximum gradient norm.")
    final_lr: float = Field(0.0, ge=0, le=1, description="Final learning rate divided by the peak.")


class Lora(Strict):
    """Low-rank adapters on the language part's matrices (Hu et al. 2021), merged at the end."""

    rank: int = Field(16, ge=1, description="Rank of the adapters.")
    alpha: float = Field(32.0, gt=0, description="Scale of the adapters, divided by the rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout on the adapters' input.")


class Schedule(Strict):
    """One stage's schedule (VILA² paper, Table 13): trainable parts, steps and optimizer."""

    steps: int = Field(ge=1, description="Optimizer steps; each visits `batch_size` samples.")
    batch_size: int = Field(ge=1, description="Samples per step, over all processes.")
    batch_tokens: int = Field(
        0,
        ge=0,
        description="Tokens per step over all processes, instead of samples; requires `pack`.",
    )
    lr: float = Field(gt=0, description="Peak learning rate, which decays along a cosine.")
    trainable: list[PartName] = Field(min_length=1, description="Parts of the model to train.")
    lr_scale: dict[PartName, float] = Field(
        default_factory=dict, description="Part -> factor of its learning rate."
    )
    optimizer: Optimizer = Field(Optimizer(), description="Optimizer settings.")
    pack: int = Field(
        0,
        ge=0,
        description="Maximum tokens of a row into which samples are packed; 0: samples are padded.",
    )
    micro_batch: int = Field(
        0,
        ge=0,
        description="If padded: samples per forward pass of a process; 0: its share of the batch.",
    )
    lora: Lora | None = Field(
        None, description="Train adapters instead of the language part's weights."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Schedule:
        if self.batch_tokens and not self.pack:
            raise ValueError("batch_tokens needs `pack`: set how many tokens one row may hold")
        if self.batch_tokens and self.batch_tokens < self.pack:
            raise ValueError("batch_tokens must be at least `pack`, the tokens of one row")
        if self.lora and "language" not in self.trainable:
            raise ValueError("lora adapts the language part: put `language` into `trainable`")
        return self


class Execution(Strict):
    """Settings for running training jobs."""

    processes: int = Field(1, ge=1, le=100_000, description="torchrun processes per job.")
    threads: int = Field(1, ge=1, le=1024, description="CPU threads per process.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Precision of the arithmetic.")
    cache_features: bool = Field(
        False,
        description="Cache the vision tower's output; the tower must be frozen in every stage.",
    )
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="Replicate the model over the processes, or shard it (FSDP2, ZeRO-3).",
    )
    activation_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass instead of keeping them."
    )
    window: int = Field(
        16, ge=1, le=4096, description="Number of a source's shards that are shuffled together."
    )
    loaders: int = Field(
        2, ge=1, le=256, description="Threads that decode images ahead of training."
    )
    image_memory: int = Field(
        1024, ge=0, description="MiB of decoded images cached by each process."
    )
    checkpoint_seconds: float = Field(
        20.0, gt=0, description="Minimum seconds between two checkpoints within a stage."
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard event files.")
