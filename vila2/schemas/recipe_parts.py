"""The parts of a recipe, each a block of its YAML; `recipe.Recipe` puts them together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vila2.schemas.assembly import KeepBy
from vila2.schemas.base import Strict
from vila2.schemas.refs import DatasetRef, OptionalDatasetRef
from vila2.schemas.sampling import Gate, Sampling
from vila2.schemas.stages import Schedule
from vila2.schemas.text import Prompts

WarningKind = Literal["diversity-collapse", "length-inflation"]

StageName = Literal["align", "pretrain", "sft"]
STAGES: tuple[StageName, ...] = ("align", "pretrain", "sft")
# The name by which assemblies refer to the layer of general captions of their round.
SELF_LAYER = "self"

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class StageRecipe(Schedule):
    """One training stage's schedule, at this recipe's scale."""

    turns_per_visit: int = Field(
        0, ge=0, description="Maximum number of turns of a conversation per visit; 0 for all."
    )


class BaseRecipe(Strict):
    """The origin of the first vision and language weights."""

    dataset: OptionalDatasetRef = Field(
        "", description="Conversations to train the base on; empty: no base is trained."
    )
    stage: StageRecipe | None = Field(None, description="Training stage of the base.")

    @model_validator(mode="after")
    def _both(self) -> BaseRecipe:
        if bool(self.dataset) != (self.stage is not None):
            raise ValueError("`dataset` and `stage` go together: set both, or neither")
        return self


class ModelRecipe(Strict):
    """The generalist's architecture and its base."""

    preset: str = Field(
        description="A shipped preset's name, or of a NAME.yaml in the folder VILA2_PRESETS names."
    )
    base: BaseRecipe = Field(
        BaseRecipe(), description="Training before round 0, if there are no pretrained parts."
    )


class DataRecipe(Strict):
    """Datasets by name (or name@version)."""

    pretrain: DatasetRef = Field(description="Images with alt-text, which are recaptioned.")
    sft: DatasetRef = Field(description="Clean conversations for the last stage.")
    align: OptionalDatasetRef = Field(
        "", description="Captioned images for stage 1; empty: `pretrain` with its original text."
    )
    pretrain_also: list[DatasetRef] = Field(
        default_factory=list,
        description="Further datasets for stage 2, with their own text; they are not recaptioned.",
    )


class CaptionRecipe(Strict):
    """How a round's captions are made."""

    prompts: Prompts = Field(
        description="Prompts, drawn uniformly per sample (paper, section 2.1.1)."
    )
    sampling: Sampling = Field(Sampling(), description="Sampling of captions.")
    gate: Gate = Field(Gate(), description="Checks of captions.")
    accumulate: bool = Field(
        False,
        description="Train on the captions of all rounds so far, one of them drawn per visit, "
        "instead of only the newest.",
    )
    keep_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of captions trained on, best first by `keep_by`."
    )
    keep_by: KeepBy = Field(
        "logprob",
        description="The captioner's confidence, or the caption's consistency with its image.",
    )


class RoundsRecipe(Strict):
    """When the self-augment loop stops, and the number of seeds per round."""

    maximum: int = Field(3, ge=1, le=20, description="Maximum number of self-augmented rounds.")
    patience: int = Field(
        1, ge=1, description="Consecutive rounds without improvement before the loop stops."
    )
    minimum_effect: float = Field(0.0, ge=0, description="Smallest gain that counts.")
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="Confidence level of a verdict's interval."
    )
    seed_sd: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Standard deviation of the macro score between seeds, if known; widens the "
        "intervals of rounds with one seed.",
    )
    seeds: int = Field(
        1,
        ge=1,
        le=64,
        description="Seeds of every round and control, counting up from `seed`. Verdicts use all "
        "of them; the first seed's model captions.",
    )
    stop_on: list[WarningKind] = Field(
        default_factory=list, description="Warnings about a round's captions that pause the run."
    )


class SpecialistRecipe(Strict):
    """A specialist: finetuned from the best self-augmented model to recaption for its task."""

    name: Literal["spatial", "ocr", "grounding"] = Field(description="The specialist's task.")
    dataset: DatasetRef = Field(description="Conversations to finetune on.")
    stage: StageRecipe = Field(description="Finetuning stage.")
    prompts: Prompts = Field(description="Prompts for each image.")
    questions: list[str] = Field(
        min_length=1,
        description="Paraphrased questions with which the generalist is trained on the answers.",
    )
    sampling: Sampling = Field(Sampling(), description="Sampling of answers.")
    keep_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the answers to train on, most confident first."
    )


class ControlRecipe(Strict):
    """A control model, which separates the effect of the loop from that of its extra training."""

    name: Slug = Field(description="Name in the run and the report.")
    says: str = Field(description="Sentence about the control in the report.")
    captions: Literal["none", "best", "first", "layer"] = Field(
        "none",
        description="Captions: none, those of the best or first self round, or a stored layer's.",
    )
    layer: str = Field("", description="For `captions: layer`: name of the stored layer.")
    shuffle_captions: bool = Field(
        False, description="Assign every image another image's captions."
    )
    extra_steps: Literal["none", "first-round", "loop", "specialists"] = Field(
        "none",
        description="Steps added to `put_into`: those that round 1, the whole loop, or the "
        "specialists need in addition to one training.",
    )
    put_into: StageName = Field("pretrain", description="Stage to which extra steps are added.")
    specialist_data: bool = Field(False, description="Include the specialists' data in SFT.")

    @model_validator(mode="after")
    def _layer_named(self) -> ControlRecipe:
        if (self.captions == "layer") != bool(self.layer):
            raise ValueError("`captions: layer` and `layer: NAME` go together")
        return self


class BudgetRecipe(Strict):
    """Budget of a run. A run that exceeds it is cancelled, with an event that gives the reason."""

    gpu_hours: float | None = Field(
        None, gt=0, description="GPU-hours of the run's jobs; null: no limit."
    )
    process_hours: float | None = Field(
        None, gt=0, description="Process-hours of jobs without a GPU; null: no limit."
    )
    images: int | None = Field(
        None, ge=1, description="Images captioned in all rounds and by specialists; null: no limit."
    )
