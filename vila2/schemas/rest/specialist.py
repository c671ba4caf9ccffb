"""REST models of the specialist service."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.base import Body, Model, Progress
from vila2.schemas.rest.examples import JOB, MODEL, TRAINING, example
from vila2.schemas.rest.training import STAGE_IN, StageIn
from vila2.schemas.sampling import Gate, Sampling
from vila2.schemas.stages import Execution
from vila2.schemas.text import Prompts

SpecialistState = Literal["training", "captioning", "done", "failed", "cancelled"]


class SpecialistIn(Execution, Body):
    """A specialist to finetune and to recaption a dataset with."""

    model_config = example(
        specialist="ocr",
        name="web-photos ocr",
        parent=MODEL,
        stage=STAGE_IN,
        dataset="web-photos@1",
        prompts=["Read the text in the image."],
    )

    specialist: Literal["spatial", "ocr", "grounding"]
    # The layer's name appends the specialist's.
    name: str = Field(max_length=180)
    parent: str = Field(description="Model to finetune.")
    stage: StageIn
    dataset: DatasetRef = Field(description="Dataset to recaption: NAME or NAME@VERSION.")
    prompts: Prompts
    sampling: Sampling = Sampling()
    gate: Gate = Gate()
    seed: int = 0
    run: str = Field("", description="Run to which its usage is charged.")


class Specialist(Model):
    """A specialist and its progress."""

    model_config = example(
        id="specialist-92eb5ffee6ae",
        specialist="ocr",
        name="web-photos ocr",
        state="training",
        job=JOB,
        progress=TRAINING,
    )

    id: str
    specialist: str
    name: str
    state: SpecialistState
    model: str = ""
    layer: str = ""
    layer_job: str = Field("", description="Caption job that makes the layer.")
    job: str = ""
    error: str = ""
    progress: Progress
