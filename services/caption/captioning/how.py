"""What determines a caption besides its image, and the checks before work is queued."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.caption.engines.engine import Abilities
from services.chassis.web.errors import Invalid
from vila2.data.layers import CaptionRow
from vila2.schemas.rest.caption import CaptionJobIn, CaptionsIn, Preview, PreviewCaption, PreviewIn
from vila2.schemas.rest.training import RegisteredModel
from vila2.schemas.sampling import Gate, Sampling


@dataclass(frozen=True, slots=True)
class Captioning:
    """Everything that determines a caption besides the image."""

    model: str
    prompts: Sequence[str]
    sampling: Sampling
    gate: Gate
    seed: int
    task: str = "general"
    score: bool = False  # store consistency scores; it changes no caption
    system: str = ""

    @classmethod
    def of(cls, body: CaptionJobIn | PreviewIn | CaptionsIn, *, model: str) -> Captioning:
        """Build from a request; `model` is the registered model that its name resolves to."""
        return cls(
            model=model,
            prompts=body.prompts,
            sampling=body.sampling,
            gate=body.gate,
            seed=body.seed,
            task=body.task,
            score=body.score,
            system=body.system,
        )

    @property
    def scored(self) -> bool:
        """Whether consistency scores are needed."""
        return self.score or self.gate.min_consistency is not None


@dataclass(slots=True)
class Spent:
    """Tokens, seconds and cost of answers, including rejected attempts."""

    requests: int = 0
    prompt_tokens: int = 0
    tokens: int = 0
    cost: float = 0.0

    def add(self, other: Spent) -> None:
        """Add the usage of another chunk."""
        self.requests += other.requests
        self.prompt_tokens += other.prompt_tokens
        self.tokens += other.tokens
        self.cost += other.cost


def check_present(model: RegisteredModel) -> None:
    """Raise `Invalid` for a model whose files were deleted."""
    if model.removed:
        raise Invalid(
            f"the model {model.name} was removed", field="model", fix="add it again, or use another"
        )


def check_abilities(body: CaptionJobIn | PreviewIn | CaptionsIn, abilities: Abilities) -> None:
    """Raise `Invalid` if the request needs something that the model's engine does not support."""
    if abilities.no_scores and (body.score or body.gate.min_consistency is not None):
        raise Invalid(
            abilities.no_scores,
            field="score" if body.score else "gate.min_consistency",
            fix="leave it out, or caption with another engine",
        )
    if abilities.no_system and body.system:
        raise Invalid(abilities.no_system, field="system", fix="leave it out")


def preview_of(rows: Sequence[CaptionRow], *, seconds: float, spent: Spent) -> Preview:
    """The preview response: the rows as captions, and their usage."""
    return Preview(
        seconds=seconds,
        prompt_tokens=spent.prompt_tokens,
        tokens=spent.tokens,
        cost=spent.cost,
        captions=[
            PreviewCaption(
                key=row.key,
                caption=row.caption,
                status=row.status,
                reason=row.reason,
                prompt=row.prompt,
                attempt=row.attempt,
                tokens=row.tokens,
                logprob=row.logprob,
                consistency=row.consistency,
            )
            for row in rows
        ],
    )
