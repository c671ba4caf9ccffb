"""The gate of a deployment: does the served model answer as the trainer's did? Pure."""

from __future__ import annotations

from collections.abc import Sequence

from services.caption.engine import Answer, Ask
from vila2.api.caption import GoldenResult
from vila2.model.golden import GoldenItem

# Half precision and other kernels flip a near tie now and then; a wrong projector, tokenizer or
# normalisation changes nearly every answer.
LEAST_SHARE = 0.75
MOST_DRIFT = 0.05  # nats per token, mean over the answers


def asks_of(items: Sequence[GoldenItem]) -> list[Ask]:
    """The golden questions, decoded greedily as the trainer did."""
    return [
        Ask(item.pixels(), item.question, 0, 0.0, 1.0, item.max_new_tokens, "") for item in items
    ]


def judge(items: Sequence[GoldenItem], answers: Sequence[Answer]) -> GoldenResult:
    """Compare the answers; `reason` is empty where they pass."""
    same = sum(i.text == a.text for i, a in zip(items, answers, strict=True))
    drift = sum(abs(i.logprob - a.logprob) for i, a in zip(items, answers, strict=True))
    drift /= max(1, len(items))
    reason = ""
    if same < LEAST_SHARE * len(items):
        item, answer = next((i, a) for i, a in zip(items, answers, strict=True) if i.text != a.text)
        reason = (
            f"{same} of {len(items)} golden answers are the trainer's: to {item.question!r} the "
            f"engine says {answer.text[:80]!r}, the trainer {item.text[:80]!r}"
        )
    elif drift > MOST_DRIFT:
        reason = f"log-probabilities are {drift:.3f} nats per token from the trainer's"
    return GoldenResult(items=len(items), same=same, drift=drift, reason=reason)
