"""REST models of the specialist service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vila2.api.base import Model, Progress
from vila2.api.training import StageIn
from vila2.schemas.refs import DatasetRef
from vila2.schemas.sampling import Gate, Sampling
from vila2.schemas.stages import Execution

SpecialistState = Literal["training", "captioning", "done", "failed", "cancelled"]


class SpecialistIn(Execution):
    """Finetune a specialist and let it recaption a dataset; the same token gives the same one."""

    # Its own requests add to both, which other services bound.
    token: str = Field(min_length=1, max_length=170)
    specialist: Literal["spatial", "ocr", "grounding"]
    name: str = Field(max_length=180)
    parent: str = Field(description="Model that it is finetuned from.")
    stage: StageIn
    dataset: DatasetRef = Field(description="What it recaptions: name or name@version.")
    prompts: list[str] = Field(min_length=1)
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    run: str = Field("", description="The run on whose account it is trained.")


class Specialist(Model):
    """A specialist at work."""

    id: str
    specialist: str
    name: str
    state: SpecialistState
    model: str = ""
    layer: str = ""
    layer_job: str = Field("", description="The caption service's job that makes the layer.")
    job: str = ""
    error: str = ""
    progress: Progress
