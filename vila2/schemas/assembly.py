"""Assembly policy and weight of a source: the same fields in REST and job specs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from vila2.schemas.base import Strict

Policy = Literal["original", "recaption", "concat", "mix", "qa_turns", "conversations"]


class Assembly(Strict):
    """How the text of a training sample is assembled; part of the recipe's hash."""

    policy: Policy = Field(description="Which texts are used, and how they are joined.")
    p: float = Field(
        1.0,
        ge=0.0,
        le=1.0,
        description="For `mix`, `concat` and `qa_turns`: probability that a visit uses the "
        "caption; otherwise it uses only the alt-text.",
    )
    caption_question: str = Field(
        "",
        description="Question that the caption answers; empty: the caption is plain text.",
    )
    caption_first: bool = Field(
        False, description="Put the caption before the alt-text instead of after it."
    )
    questions: dict[str, list[str]] = Field(
        default_factory=dict,
        description="For `qa_turns`: layer name -> paraphrases of its question.",
    )
    originals: Literal["first", "any"] = Field(
        "first",
        description="Of a sample with several captions of its source: the first is its alt-text, "
        "or each visit draws any.",
    )
    missing: Literal["error", "original"] = Field(
        "error", description="What to do if a layer has no caption for a sample."
    )
    turns_per_sample: int = Field(
        0, ge=0, description="Maximum number of turns of a sample per visit; 0 for all."
    )
    caption_layer: str = Field("", description="Layer of the general captions.")
    also_layers: list[str] = Field(
        default_factory=list,
        description="Further layers of general captions; each visit draws one of a sample's "
        "captions.",
    )

    @model_validator(mode="after")
    def _consistent(self) -> Assembly:
        if self.policy in ("recaption", "concat", "mix") and not self.caption_layer:
            raise ValueError(f"policy {self.policy!r} needs `caption_layer`: name the layer to use")
        if self.also_layers and not self.caption_layer:
            raise ValueError("also_layers needs `caption_layer`: name the first of them there")
        for layer, questions in self.questions.items():
            if not questions:
                raise ValueError(f"questions.{layer} is empty: give at least one question")
        return self

    def layers(self) -> list[str]:
        """Names of the caption layers that this assembly reads."""
        named = [self.caption_layer] if self.caption_layer else []
        return named + list(self.also_layers) + sorted(self.questions)


KeepBy = Literal["logprob", "consistency"]


class SourceOptions(Strict):
    """How a stage reads a source."""

    assembly: Assembly = Field(description="How the text of a sample is assembled.")
    repeat: float = Field(1.0, gt=0, description="Passes over this source within one epoch.")
    shuffle_captions: bool = Field(
        False, description="Control: assign every image another image's captions (seeded)."
    )
    keep_fraction: dict[str, float] = Field(
        default_factory=dict,
        description="Layer name -> share of its captions to keep, best first.",
    )
    keep_by: dict[str, KeepBy] = Field(
        default_factory=dict,
        description="Layer name -> score by which captions are kept; logprob if not given.",
    )
