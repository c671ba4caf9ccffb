"""One type stands behind a field in recipes, REST and job specs, with one set of bounds."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from vila2.recipes.recipe import Recipe
from vila2.schemas.assembly import SourceOptions
from vila2.schemas.recipe_parts import CaptionRecipe, SpecialistRecipe, StageRecipe
from vila2.schemas.rest.caption import CaptionJobIn, CaptionsIn, PreviewIn
from vila2.schemas.rest.specialist import SpecialistIn
from vila2.schemas.rest.training import EarlyStopIn, SourceIn, StageIn, TrainIn
from vila2.schemas.sampling import Gate, Sampling
from vila2.schemas.stages import Execution, Schedule
from vila2.schemas.train_spec import Source, Stage, TrainSpec

STAGE: dict[str, Any] = {"steps": 2, "batch_size": 4, "lr": 1e-3, "trainable": ["projector"]}
SOURCE = {"dataset": "d", "assembly": {"policy": "original"}}


def test_a_stage_is_one_type_everywhere() -> None:
    assert all(issubclass(kind, Schedule) for kind in (StageRecipe, StageIn, Stage))


def test_how_a_job_runs_is_one_type_everywhere() -> None:
    assert all(issubclass(kind, Execution) for kind in (TrainIn, SpecialistIn, TrainSpec))
    assert Recipe.model_fields["training"].annotation is Execution


def test_how_a_source_is_read_is_one_type_everywhere() -> None:
    assert all(issubclass(kind, SourceOptions) for kind in (SourceIn, Source))


@pytest.mark.parametrize(
    ("owner", "field"),
    [
        (CaptionJobIn, "sampling"), (PreviewIn, "sampling"), (CaptionsIn, "sampling"),
        (SpecialistIn, "sampling"), (CaptionRecipe, "sampling"), (SpecialistRecipe, "sampling"),
    ],
)  # fmt: skip
def test_sampling_is_one_type_everywhere(owner: type[BaseModel], field: str) -> None:
    assert owner.model_fields[field].annotation is Sampling


@pytest.mark.parametrize(
    "owner", [CaptionJobIn, PreviewIn, CaptionsIn, SpecialistIn, CaptionRecipe]
)
def test_the_gate_is_one_type_everywhere(owner: type[BaseModel]) -> None:
    assert owner.model_fields["gate"].annotation is Gate


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", -1), ("steps", 0), ("batch_size", 0), ("lr", 0.0), ("lr", float("inf")),
        ("trainable", []), ("trainable", ["head"]), ("micro_batch", -1), ("pack", -1),
        ("steps", True), ("steps", "20"), ("optimizer", {"clip": float("nan")}),
    ],
)  # fmt: skip
def test_a_stage_that_cannot_be_trained_is_refused_at_the_door(field: str, value: object) -> None:
    """Recipe and REST name the same field."""
    for kind, extra in ((StageRecipe, {}), (StageIn, {"name": "sft", "sources": [SOURCE]})):
        with pytest.raises(ValidationError) as refused:
            kind.model_validate({**STAGE, **extra, field: value})
        assert refused.value.errors()[0]["loc"][0] == field


@pytest.mark.parametrize("field", ["window", "loaders", "checkpoint_seconds", "tensorboard"])
def test_every_option_of_the_trainer_can_be_set_in_a_recipe(field: str) -> None:
    assert field in Execution.model_fields


def test_a_whole_number_may_be_written_as_a_float() -> None:
    """JSON does not tell 12.0 from 12."""
    assert StageRecipe.model_validate({**STAGE, "steps": 12.0}).steps == 12


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["max_loss", "minimum_improvement"])
def test_a_number_that_is_not_finite_is_refused_by_every_type(field: str, value: float) -> None:
    """No field has to ask for it: a loss is never above NaN, so such a rule would never stop."""
    rule = {"stage": "sft", "at_step": 5, "max_loss": 3.0, field: value}
    with pytest.raises(ValidationError, match="finite"):
        EarlyStopIn.model_validate(rule)
