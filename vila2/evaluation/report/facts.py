"""What a model came from and what a run read: parts of a report, and what all parts are made of."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    """Base of the report's parts: immutable, and unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


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
    """A model's lineage: its starting model, its training data, and its weights' digest."""

    name: str
    model: str
    sha256: str
    parent: str = ""
    job: str = ""
    reads: list[DataRead] = []


class DataSource(Strict):
    """A dataset version that a run reads, for which purposes, and under which licence."""

    dataset: str = Field(description="NAME@VERSION")
    used_for: list[str] = Field(description="Fields of the recipe that name it.")
    kind: str = ""
    samples: Count = 0
    licence: str = ""
    source: str = Field("", description="Where it came from, as was said when it was submitted.")
