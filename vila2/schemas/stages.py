"""Training stages and how they run: the same fields in recipes, REST and job specs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vila2.schemas.base import Strict

PartName = Literal["vision", "projector", "language"]


class Optimizer(Strict):
    """Muon (Jordan et al. 2024) for hidden matrices and AdamW for the rest, or AdamW alone."""

    kind: Literal["adamw", "muon"] = Field(
        "adamw", description="AdamW for all, or Muon for hidden matrices."
    )
    muon_lr_scale: float = Field(5.0, gt=0, description="Muon's learning rate over AdamW's.")
    weight_decay: float = Field(0.0, ge=0, description="Decoupled from the gradient.")
    betas: tuple[float, float] = Field(
        (0.9, 0.95), strict=False, description="AdamW's two decay rates."
    )
    warmup: float = Field(0.03, ge=0, lt=1, description="Share of the stage's steps.")
    clip: float = Field(1.0, gt=0, description="Gradient norm limit.")
    final_lr: float = Field(0.0, ge=0, le=1, description="Learning rate at the end / at the top.")


class Lora(Strict):
    """Low-rank adapters on the language part's matrices (Hu et al. 2021), merged at the end."""

    rank: int = Field(16, ge=1, description="Of the adapters.")
    alpha: float = Field(32.0, gt=0, description="Their scale, times 1 / rank.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Before them.")


class Schedule(Strict):
    """One stage's schedule (VILA² paper, Table 13): which parts learn, for how long, and how."""

    steps: int = Field(ge=1, description="Optimizer steps; times batch_size: samples visited.")
    batch_size: int = Field(ge=1, description="Samples per step, over all processes.")
    batch_tokens: int = Field(
        0,
        ge=0,
        description="Tokens per step in place of samples, over all processes; needs `pack`.",
    )
    lr: float = Field(gt=0, description="Learning rate at its top; it falls as a cosine.")
    trainable: list[PartName] = Field(min_length=1, description="Parts that learn.")
    lr_scale: dict[PartName, float] = Field(
        default_factory=dict, description="Part -> what its learning rate is multiplied with."
    )
    optimizer: Optimizer = Field(Optimizer(), description="How weights are changed.")
    pack: int = Field(
        0, ge=0, description="Join samples into rows of at most so many tokens; 0 pads instead."
    )
    micro_batch: int = Field(
        0, ge=0, description="Padded: samples of one forward pass of a process; 0 takes its share."
    )
    lora: Lora | None = Field(None, description="Adapters in place of the language part's weights.")

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
    """How training jobs run, whatever they train."""

    processes: int = Field(1, ge=1, le=100_000, description="torchrun processes of one job.")
    threads: int = Field(1, ge=1, le=1024, description="CPU threads of each process.")
    precision: Literal["fp32", "bf16"] = Field("fp32", description="Of the arithmetic.")
    cache_features: bool = Field(
        False, description="Keep a vision tower's output; it must be frozen in every stage."
    )
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp",
        description="Copies of the model, or shards of it (FSDP2, ZeRO-3), over the processes.",
    )
    activation_checkpointing: bool = Field(
        False, description="Recompute activations in the backward pass instead of keeping them."
    )
    window: int = Field(
        16, ge=1, le=4096, description="Shards of a source that are shuffled together."
    )
    loaders: int = Field(
        2, ge=1, le=256, description="Threads that decode images ahead of the steps."
    )
    image_memory: int = Field(
        1024, ge=0, description="MiB of decoded images that each process keeps."
    )
    checkpoint_seconds: float = Field(
        20.0, gt=0, description="Least time between two checkpoints within a stage."
    )
    tensorboard: bool = Field(False, description="Also write TensorBoard's event files.")
