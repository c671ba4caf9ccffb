"""Sampling parameters of captions, and the gate that accepts them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vila2.schemas.base import Strict

Task = Literal["general", "spatial", "ocr", "grounding"]


class Sampling(Strict):
    """Sampling parameters of generated text."""

    temperature: float = Field(
        0.0, ge=0, le=5, description="Sampling temperature; 0 for greedy decoding."
    )
    top_p: float = Field(
        1.0, gt=0, le=1, description="Cumulative probability for nucleus sampling."
    )
    max_new_tokens: int = Field(
        64, ge=1, le=4096, description="Maximum length of the output in tokens."
    )


class Gate(Strict):
    """Checks that a caption must pass to be accepted."""

    attempts: int = Field(
        3, ge=1, le=20, description="Maximum attempts per sample before it is quarantined."
    )
    retry_temperature: float = Field(
        0.7, gt=0, le=5, description="Temperature from the second attempt on."
    )
    min_words: int = Field(1, ge=0, description="Minimum number of words.")
    max_words: int = Field(400, ge=1, description="Maximum number of words.")
    max_repeats: int = Field(4, ge=1, description="Maximum occurrences of any 4-gram.")
    min_consistency: float | None = Field(
        None,
        description="Minimum consistency score of a general caption, nats per token; lower "
        "ones are rejected as `inconsistent`. Null: not checked.",
    )

    @model_validator(mode="after")
    def _some_length(self) -> Gate:
        if self.min_words > self.max_words:
            raise ValueError("min_words is above max_words: no caption would pass")
        return self
