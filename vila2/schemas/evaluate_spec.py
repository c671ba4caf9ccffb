"""The spec of an evaluation job; does not import torch, so that services can build it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from vila2.schemas.stored import Stored


class EvaluateSpec(BaseModel):
    """An evaluation job: model, benchmarks and output folder. Paths are local to the machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(description="Folder of the saved model.")
    benchmarks: dict[str, list[str]] = Field(
        min_length=1, description="Benchmark dataset -> paths of its shards."
    )
    stored: dict[str, Stored] = Field(
        default_factory=dict, description="Path -> what must be there; others are not checked."
    )
    output: str
    cache: str
    batch_size: int = Field(64, ge=1)
    max_new_tokens: int = Field(64, ge=1)
    threads: int = Field(1, ge=1)
    seed: int = 0
