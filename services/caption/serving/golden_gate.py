"""The golden gate of a deployment: does the engine answer as the trainer did? Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

from vila2.engine.golden_set import GoldenItem
from vila2.engine.requests import Generation, Request
from vila2.schemas.rest.caption import GoldenResult
from vila2.schemas.sampling import Sampling

# Half precision and different kernels occasionally flip a near tie. A wrong projector, tokenizer or
# normalisation changes nearly every answer.
LEAST_SHARE = 0.75
MOST_DRIFT = 0.05  # nats per token, mean over the answers


def requests_of(items: Sequence[GoldenItem]) -> list[Request]:
    """The golden questions, decoded greedily as the trainer did."""
    return [
        Request(item.pixels(), item.question, 0, Sampling(max_new_tokens=item.max_new_tokens))
        for item in items
    ]


def judge(items: Sequence[GoldenItem], answers: Sequence[Generation]) -> GoldenResult:
    """Compare the answers; `reason` is empty if they pass.

    Fails if there are no items, if the numbers of items and answers differ, or if a
    log-probability is not finite.
    """
    if not items:
        return _failed(0, "its golden set is empty")
    if len(answers) != len(items):
        return _failed(
            len(items), f"the engine gave {len(answers)} answers to {len(items)} golden questions"
        )
    pairs = list(zip(items, answers, strict=True))
    other = [(item, answer) for item, answer in pairs if item.text != answer.text]
    same = len(pairs) - len(other)
    drifts = [
        math.nan if answer.logprob is None else abs(item.logprob - answer.logprob)
        for item, answer in pairs
    ]
    drift = sum(drifts) / len(pairs)
    reason = ""
    if not same >= LEAST_SHARE * len(items):
        item, answer = other[0]
        reason = (
            f"{same} of {len(items)} golden answers match the trainer's: to {item.question!r} the "
            f"engine answers {answer.text[:80]!r}, the trainer {item.text[:80]!r}"
        )
    elif not math.isfinite(drift):
        reason = "a log-probability of the golden answers is not a finite number"
    elif not drift <= MOST_DRIFT:
        reason = f"log-probabilities are {drift:.3f} nats per token from the trainer's"
    # JSON has no NaN and no infinity.
    told = drift if math.isfinite(drift) else None
    return GoldenResult(items=len(items), same=same, drift=told, reason=reason)


def _failed(items: int, reason: str) -> GoldenResult:
    return GoldenResult(items=items, same=0, drift=None, reason=reason)
