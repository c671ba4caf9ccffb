"""Sampling parameters of captions, and the gate that accepts them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vila2.schemas.base import Strict

Task = Literal["general", "spatial", "ocr", "grounding"]


class Sampling(Strict):
    """How answers are drawn; temperature 0 is greedy decoding."""

    temperature: float = Field(0.0, ge=0, le=5, description="0 is greedy decoding.")
    top_p: float = Field(1.0, gt=0, le=1, description="Share of the probability drawn from.")
    max_new_tokens: int = Field(64, ge=1, le=4096, description="Longest answer, in tokens.")


class Gate(Strict):
    """What a caption must pass before it counts."""

    attempts: int = Field(3, ge=1, le=20, description="Tries before a sample is quarantined.")
    retry_temperature: float = Field(0.7, gt=0, le=5, description="From the second try on.")
    min_words: int = Field(1, ge=0, description="A shorter caption is refused.")
    max_words: int = Field(400, ge=1, description="A longer caption is refused.")
    max_repeats: int = Field(4, ge=1, description="Times one 4-gram may occur.")
    min_consistency: float | None = Field(
        None,
        description="Least consistency score of a general caption, nats per token; below it a "
        "caption is `inconsistent`. Null asks for none.",
    )

    @model_validator(mode="after")
    def _some_length(self) -> Gate:
        if self.min_words > self.max_words:
            raise ValueError("min_words is above max_words: no caption would pass")
        return self
