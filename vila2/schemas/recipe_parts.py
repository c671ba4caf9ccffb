"""The parts of a recipe, each a block of its YAML; `recipe.Recipe` puts them together."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from vila2.schemas.assembly import KeepBy
from vila2.schemas.base import Strict
from vila2.schemas.refs import DatasetRef, OptionalDatasetRef
from vila2.schemas.sampling import Gate, Sampling
from vila2.schemas.stages import Schedule

WarningKind = Literal["diversity-collapse", "length-inflation"]

StageName = Literal["align", "pretrain", "sft"]
STAGES: tuple[StageName, ...] = ("align", "pretrain", "sft")
# The name by which assemblies refer to the layer of general captions of their round.
SELF_LAYER = "self"

Slug = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]


class StageRecipe(Schedule):
    """One training stage's schedule, at this recipe's scale."""

    turns_per_visit: int = Field(
        0, ge=0, description="At most this many turns of a conversation per visit; 0 takes all."
    )


class BaseRecipe(Strict):
    """Where the original vision and language weights come from."""

    dataset: OptionalDatasetRef = Field(
        "", description="Conversations that train the base; empty trains none."
    )
    stage: StageRecipe | None = Field(None, description="How the base is trained on them.")

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
        BaseRecipe(), description="Training before round 0, where there are no pretrained parts."
    )


class DataRecipe(Strict):
    """Datasets by name (or name@version)."""

    pretrain: DatasetRef = Field(description="Images with alt-text: what is recaptioned.")
    sft: DatasetRef = Field(description="Clean conversations for the last stage.")
    align: OptionalDatasetRef = Field(
        "", description="Captioned images of stage 1; empty takes `pretrain` as it came."
    )
    pretrain_also: list[DatasetRef] = Field(
        default_factory=list,
        description="Stage 2 reads these as well, by their own text; they are never recaptioned.",
    )


class CaptionRecipe(Strict):
    """How a round's captions are made."""

    prompts: list[str] = Field(
        min_length=1, description="Drawn uniformly per sample (paper, section 2.1.1)."
    )
    sampling: Sampling = Field(Sampling(), description="How they are drawn.")
    gate: Gate = Field(Gate(), description="What they must pass.")
    accumulate: bool = Field(
        False,
        description="Train on the captions of all rounds so far, one of them drawn on each visit, "
        "instead of on the newest alone.",
    )
    keep_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of captions trained on, best first by `keep_by`."
    )
    keep_by: KeepBy = Field(
        "logprob",
        description="The captioner's confidence, or how much a caption owes to its image.",
    )


class RoundsRecipe(Strict):
    """When the self-augment loop stops, and on how many trainings that rests."""

    maximum: int = Field(3, ge=1, le=20, description="The most self-augmented rounds.")
    patience: int = Field(1, ge=1, description="Rounds in a row without improvement.")
    minimum_effect: float = Field(0.0, ge=0, description="Smallest gain that counts.")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="Of a verdict's interval.")
    seed_sd: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Standard deviation of the macro score between seeds, where it is known: "
        "widens the intervals of rounds that were trained once.",
    )
    seeds: int = Field(
        1,
        ge=1,
        le=64,
        description="Trainings of every round and control, with `seed` and the numbers after it; "
        "verdicts are over all of them, and the first one's model captions.",
    )
    stop_on: list[WarningKind] = Field(
        default_factory=list, description="Warnings about a round's captions that pause the run."
    )


class SpecialistRecipe(Strict):
    """One specialist: finetuned from the best self-augmented model, then recaptions by task."""

    name: Literal["spatial", "ocr", "grounding"] = Field(description="Its task.")
    dataset: DatasetRef = Field(description="Conversations that teach the task.")
    stage: StageRecipe = Field(description="How it is finetuned on them.")
    prompts: list[str] = Field(min_length=1, description="What it is asked about each image.")
    questions: list[str] = Field(
        min_length=1, description="Paraphrases under which the generalist sees the answers."
    )
    sampling: Sampling = Field(Sampling(), description="How its answers are drawn.")
    keep_fraction: float = Field(
        1.0, gt=0, le=1, description="Share of its answers trained on, the most confident first."
    )


class ControlRecipe(Strict):
    """A model trained beside the loop, to tell the loop's effect from its cost."""

    name: Slug = Field(description="What the run and the report call it.")
    says: str = Field(description="The sentence the report prints about it.")
    captions: Literal["none", "best", "first", "layer"] = Field(
        "none", description="No captions, the best or first self round's, or a stored layer's."
    )
    layer: str = Field("", description="For captions: layer, the stored layer's name.")
    shuffle_captions: bool = Field(False, description="Every image gets another's captions.")
    extra_steps: Literal["none", "first-round", "loop", "specialists"] = Field(
        "none",
        description="Steps added to `put_into`: those that round 1, the whole loop, or the "
        "specialists take beyond one training.",
    )
    put_into: StageName = Field("pretrain", description="The stage that extra steps lengthen.")
    specialist_data: bool = Field(False, description="Put the specialists' data into SFT.")

    @model_validator(mode="after")
    def _layer_named(self) -> ControlRecipe:
        if (self.captions == "layer") != bool(self.layer):
            raise ValueError("`captions: layer` and `layer: NAME` go together")
        return self


class BudgetRecipe(Strict):
    """What a run may use; the run is cancelled, with an event that says why, when it has more."""

    gpu_hours: float | None = Field(None, gt=0, description="GPU-hours of its jobs; null: any.")
    process_hours: float | None = Field(
        None, gt=0, description="The same of jobs without a GPU, processes x hours."
    )
    images: int | None = Field(
        None, ge=1, description="Images captioned, over all rounds and specialists."
    )
