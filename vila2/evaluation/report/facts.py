"""The parts of a report that are about work rather than scores: what it cost, what it came from."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Hours = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """A part of the report: unknown fields are errors, and nothing changes."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Cost(Strict):
    """What one round took, in seconds; `None` where the round has no such step, or none is known.

    Training and evaluation are the running time of their jobs; captioning (and specialists' whole
    work) is the time from its begin to its end, waiting included.
    """

    name: str
    captioning: Seconds | None = None
    training: Seconds | None = None
    evaluation: Seconds | None = None


class Costs(Strict):
    """What a run cost: by round, and its jobs' use as the platform accounts it."""

    rounds: list[Cost]
    gpu_hours: Hours = 0.0
    process_hours: Hours = Field(0.0, description="Of jobs without a GPU: processes x hours.")
    jobs: Count = 0
    attempts: Count = 0


class LayerRead(Strict):
    """A caption layer that a training read."""

    layer: str
    name: str
    recipe_hash: str
    captioner: str


class DataRead(Strict):
    """A dataset version that a stage of a training read, and the layers over it."""

    stage: str
    dataset: str = Field(description="NAME@VERSION")
    sha256: str = ""
    samples: Count = 0
    policy: str = Field("", description="How text was assembled: original, concat, ...")
    layers: list[LayerRead] = []


class Lineage(Strict):
    """Where a model comes from: what it started from, what it read, and its weights' digest."""

    name: str
    model: str
    sha256: str
    parent: str = ""
    job: str = ""
    reads: list[DataRead] = []
