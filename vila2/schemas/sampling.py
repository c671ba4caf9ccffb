"""Sampling parameters of captions, and the gate that accepts them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from vila2.schemas.base import Strict

Task = Literal["general", "spatial", "ocr", "grounding"]

ANY_LANGUAGE = "any"
# ISO 639-1 codes of the languages that lingua tells apart; a test holds the list to the library.
LANGUAGES = tuple(
    code
    for line in (
        "af ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gu he hi hr hu hy id",
        "is it ja ka kk ko la lg lt lv mi mk mn mr ms nb nl nn pa pl pt ro ru sk sl sn so sq sr",
        "st sv sw ta te th tl tn tr ts uk ur vi xh yo zh zu",
    )
    for code in line.split()
)


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
    language: str | list[str] = Field(
        "en",
        description="Language of the captions: an ISO 639-1 code, a list of them, or `any`. All "
        "but `en` and `any` need the extra `language` where captions are made.",
    )
    min_consistency: float | None = Field(
        None,
        description="Minimum consistency score of a general caption, nats per token; lower "
        "ones are rejected as `inconsistent`. Null: not checked.",
    )

    @field_validator("language", mode="before")
    @classmethod
    def _known_languages(cls, given: Any) -> str | list[str]:
        """In one spelling, so that equal choices have equal hashes: sorted, one code as itself."""
        codes = [given] if isinstance(given, str) else given
        if codes == [ANY_LANGUAGE]:
            return ANY_LANGUAGE
        if not isinstance(codes, list) or not codes:
            raise ValueError(f"is {given!r}; give 'any', a code of ISO 639-1, or a list of codes")
        for code in codes:
            if code not in LANGUAGES:
                raise ValueError(
                    f"{code!r} is no language that can be told; give 'any' alone, or out of the "
                    f"codes of ISO 639-1: {', '.join(LANGUAGES)}"
                )
        known = sorted(set(codes))
        return known[0] if len(known) == 1 else known

    @property
    def languages(self) -> tuple[str, ...]:
        """The codes that `language` names; none of them stand for any language."""
        if isinstance(self.language, list):
            return tuple(self.language)
        return () if self.language == ANY_LANGUAGE else (self.language,)

    @model_validator(mode="after")
    def _some_length(self) -> Gate:
        if self.min_words > self.max_words:
            raise ValueError("min_words is above max_words: no caption would pass")
        return self
