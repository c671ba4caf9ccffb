"""Speeds of a preset that has not run here: its FLOPs, at a stated share of a device's peak."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from services.chassis.errors import Invalid
from services.controller.estimates.phases import Training
from services.controller.estimates.rates import ASSUMED_DEVICE, Speed, by_flops
from vila2.api.estimates import Device, Range
from vila2.model.estimate import ORDER, Model, Stage, flops_per_sample, forward_flops
from vila2.model.preset import PresetError, load_preset, named_preset

if TYPE_CHECKING:
    from vila2.recipe import Recipe

# Of a prompt with its markup, beside the picture's own tokens.
_PROMPT_TOKENS = 20


class Planned:
    """Speeds from shapes; the model is built without memory, and only when it is asked for."""

    def __init__(self, recipe: Recipe, device: Device | None) -> None:
        self._recipe, self._device = recipe, device
        self.used = False

    def visit(self, training: Training, text: Range) -> Speed:
        """Seconds of one visit in training, with the recipe's recomputation."""
        again = self._recipe.training.activation_checkpointing

        def flops(tokens: float) -> float:
            parts = frozenset(part for part in ORDER if part in training.trainable)
            stage = Stage(training.stage, parts, samples=1, text_tokens=round(tokens))
            return flops_per_sample(self._model, stage, checkpointing=again)

        return self._speed(flops, text, self._given.training)

    def caption(self, tokens: Range) -> Speed:
        """Seconds of one caption of so many tokens."""

        def flops(count: float) -> float:
            parts = forward_flops(self._model, text_tokens=round(count) + _PROMPT_TOKENS)
            return sum(weights + attention for weights, attention in parts.values())

        return self._speed(flops, tokens, self._given.captioning)

    def _speed(self, flops: Callable[[float], float], tokens: Range, share: Range) -> Speed:
        self.used = True
        low, mid, high = (
            by_flops(flops(count), self._given, share)
            for count in (tokens.low, tokens.mid, tokens.high)
        )
        seconds = Range(low=low.low, mid=mid.mid, high=high.high)
        return Speed(
            seconds, "assumed", f"FLOPs on {self._given.name}: {ASSUMED_DEVICE[self._given.name]}"
        )

    @property
    def _given(self) -> Device:
        if self._device is None:
            preset = self._recipe.model.preset
            raise Invalid(
                f"no job of the preset {preset!r} has run here, so its speed is not known",
                field="device",
                fix=f"name the device to assume: one of {', '.join(ASSUMED_DEVICE)}",
            )
        return self._device

    @cached_property
    def _model(self) -> Model:
        name = self._recipe.model.preset
        try:
            preset = load_preset(named_preset(name))
            from vila2.model.plan import meta_model, shapes

            return shapes(meta_model(preset), preset)
        except (PresetError, ModuleNotFoundError) as error:
            raise Invalid(
                f"the preset {name!r} has no plan here: {error}",
                field="recipe.model.preset",
                fix="train with it once, so that its speed can be measured, or take another preset",
            ) from error
