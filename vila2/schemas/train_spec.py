"""The spec of a training job: one JSON file that names all its inputs and outputs.

The dispatcher writes it, the trainer executes it, and its hash decides whether a checkpoint may be
resumed. Does not import torch, so that services can build a spec.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import Field

from vila2.schemas.assembly import SourceOptions
from vila2.schemas.base import Strict
from vila2.schemas.canonical import canonical_json
from vila2.schemas.stages import Execution, Schedule
from vila2.schemas.stored import Stored


class Source(SourceOptions):
    """A source: shards and their caption layers."""

    name: str
    shards: list[str] = Field(min_length=1, description="Paths of WebDataset tars.")
    sizes: list[int] = Field(
        default_factory=list,
        description="Number of samples per shard; empty: read from the shards' indexes.",
    )
    layers: dict[str, list[str]] = Field(
        default_factory=dict, description="Layer name -> Parquet paths, one per shard, in order."
    )

    stored: dict[str, Stored] = Field(
        default_factory=dict, description="Path -> what must be there; others are not checked."
    )


class Stage(Schedule):
    """A stage: its schedule and sources."""

    name: str
    sources: list[Source] = Field(min_length=1)


class NewModel(Strict):
    """Compose a model from a preset; its tokenizer, if trained, learns from these sources."""

    kind: Literal["new"]
    preset: str
    tokenizer_sources: list[Source] = Field(default_factory=list)


class FromBase(Strict):
    """Start from the base's vision and language weights with a new projector."""

    kind: Literal["base"]
    path: str


class Continue(Strict):
    """Continue training a model (for specialists)."""

    kind: Literal["continue"]
    path: str


Init = Annotated[NewModel | FromBase | Continue, Field(discriminator="kind")]


# Fields that do not affect the result: output paths and speed.
_BESIDE_THE_RESULT = {
    "output", "cache", "checkpoint_seconds", "processes", "threads", "image_memory", "loaders",
    "tensorboard",
}  # fmt: skip


class TrainSpec(Execution):
    """A training job. Paths are local to the training machine."""

    init: Init
    stages: list[Stage] = Field(default_factory=list)
    seed: int = 0
    output: str = Field(description="Folder for the model, checkpoints, progress and metrics.")
    cache: str = Field(description="Folder for cached images and features, shared by jobs.")

    def digest(self) -> str:
        """Hash over everything that affects the result; output paths and speed do not."""
        fields = self.model_dump(mode="json", exclude=_BESIDE_THE_RESULT)
        return hashlib.sha256(canonical_json(fields)).hexdigest()[:16]
