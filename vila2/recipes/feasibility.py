"""What a job would refuse after it has begun, found in the recipe and its preset before. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from vila2.model.preset import Preset, PresetError, load_preset, named_preset
from vila2.recipes.recipe import Recipe, StageRecipe


@dataclass(frozen=True, slots=True)
class Refusal:
    """A field of a recipe with which a job would fail, and what to change."""

    field: str
    reason: str

    def __str__(self) -> str:
        return f"{self.field}: {self.reason}"


def refusals(recipe: Recipe) -> list[Refusal]:
    """Every reason for which a job of the recipe would fail, whatever its data."""
    try:
        preset = load_preset(named_preset(recipe.model.preset))
    except PresetError as error:
        return [Refusal("model.preset", str(error))]
    found: list[Refusal] = []
    for field, stage in _stages(recipe):
        found += _layout(recipe, preset, field, stage)
    return [*found, *_captions(recipe)]


def missing_extras(recipe: Recipe) -> list[str]:
    """Extras of the package that jobs of the recipe need, and that are not installed here."""
    wanted = {
        "lora": ("peft", any(stage.lora for _, stage in _stages(recipe))),
        "language": ("lingua", recipe.captioning.gate.languages not in ((), ("en",))),
        "tensorboard": ("tensorboard", recipe.training.tensorboard),
    }
    return [
        extra for extra, (package, needed) in wanted.items() if needed and not find_spec(package)
    ]


def _stages(recipe: Recipe) -> Iterator[tuple[str, StageRecipe]]:
    """Every training stage with its path in the recipe."""
    if recipe.model.base.stage is not None:
        yield "model.base.stage", recipe.model.base.stage
    for name, stage in recipe.stages.items():
        yield f"stages.{name}", stage
    for number, specialist in enumerate(recipe.specialists):
        yield f"specialists.{number}.stage", specialist.stage


def _layout(recipe: Recipe, preset: Preset, field: str, stage: StageRecipe) -> Iterator[Refusal]:
    processes = recipe.training.processes
    if not stage.batch_tokens and stage.batch_size % processes:
        below = stage.batch_size // processes * processes
        yield Refusal(
            f"{field}.batch_size",
            f"{stage.batch_size} samples cannot be divided among the {processes} processes of "
            f"training.processes; use {below or processes} or {below + processes}",
        )
    if 0 < stage.pack < preset.max_length:
        yield Refusal(
            f"{field}.pack",
            f"a row of {stage.pack} tokens is too short for a sample, which has up to "
            f"{preset.max_length} (max_length of the preset {recipe.model.preset}); use at least "
            f"{preset.max_length}",
        )


def _captions(recipe: Recipe) -> Iterator[Refusal]:
    """A share of the captions is left out, so that some samples have none."""
    kept = {
        "recaption": recipe.captioning.keep_fraction,
        "specialised": min(
            [recipe.captioning.keep_fraction, *(s.keep_fraction for s in recipe.specialists)]
        ),
    }
    for field, share in kept.items():
        assembly = getattr(recipe, field)
        if assembly is not None and assembly.missing == "error" and share < 1:
            yield Refusal(
                f"{field}.missing",
                f"with a keep_fraction of {share:g} some samples have no caption, which is an "
                "error here; set it to original",
            )
