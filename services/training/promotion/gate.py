"""What a model must show before it is promoted: pure, from facts that were gathered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vila2.api.training import Evaluation, Requirement, Stage

# As the caption service compares deployments: other kernels flip a near tie now and then, a wrong
# projector, tokenizer or normalisation changes nearly every answer.
LEAST_SHARE = 0.75
MOST_DRIFT = 0.05  # nats per token, mean over the answers

_FROM: Mapping[Stage, tuple[Stage, ...]] = {
    "staging": ("candidate", "archived"),
    "production": ("staging",),
}


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found: the digest of the stored weights, the golden set, and the answers to it."""

    stated: str
    stored: str
    golden: Sequence[Mapping[str, Any]]
    answers: Sequence[Mapping[str, Any]]
    served: str  # why the serving version did not answer; empty where it did


def illegal_move(before: Stage, after: Stage) -> str:
    """Why a model cannot be moved so; empty where it can."""
    if before in _FROM.get(after, ()):
        return ""
    return f"a model goes from {' or '.join(_FROM[after])} to {after}, and this one is {before}"


def golden_reason(facts: Facts) -> tuple[str, dict[str, Any]]:
    """Whether the answers are the trainer's: the reason why not, and the figures."""
    same = sum(g["text"] == a["text"] for g, a in zip(facts.golden, facts.answers, strict=True))
    drifts = [
        abs(g["logprob"] - a["logprob"]) for g, a in zip(facts.golden, facts.answers, strict=True)
    ]
    drift = sum(drifts) / max(1, len(drifts))
    figures = {"items": len(facts.golden), "same": same, "drift": round(drift, 6)}
    if same < LEAST_SHARE * len(facts.golden):
        return f"{same} of {len(facts.golden)} golden answers are the trainer's", figures
    if drift > MOST_DRIFT:
        return f"log-probabilities are {drift:.3f} nats per token from the trainer's", figures
    return "", figures


def unmet(requirements: Sequence[Requirement], scores: Sequence[Evaluation]) -> list[str]:
    """The requirements that the newest score on their benchmark does not meet."""
    reasons = []
    for requirement in requirements:
        held = [score for score in scores if score.benchmark == requirement.benchmark]
        if not held:
            reasons.append(f"{requirement.benchmark}: not evaluated")
            continue
        newest = max(held, key=lambda score: score.at)
        value = newest.value if requirement.bound == "value" else newest.low
        what = "score" if requirement.bound == "value" else "low end of the interval"
        if value is None:
            reasons.append(f"{requirement.benchmark}: its score came without an interval")
        elif not value >= requirement.minimum:
            reasons.append(
                f"{requirement.benchmark}: {what} {value:.4f} is below {requirement.minimum:g} "
                f"(job {newest.job}, {newest.version})"
            )
    return reasons


def judge(
    facts: Facts, requirements: Sequence[Requirement], scores: Sequence[Evaluation]
) -> tuple[str, dict[str, Any]]:
    """Every reason why a model does not pass, as one sentence (empty: it does), and evidence."""
    reasons = []
    evidence: dict[str, Any] = {"digest": facts.stored}
    if facts.stored != facts.stated:
        reasons.append(
            f"the stored weights are not those that were trained (digest {facts.stored[:12]}, "
            f"registered {facts.stated[:12]})"
        )
    if not facts.golden:
        reasons.append("it has no golden set")
    elif facts.served:
        reasons.append(f"the serving version: {facts.served}")
    else:
        reason, evidence["golden"] = golden_reason(facts)
        if reason:
            reasons.append(reason)
    reasons += unmet(requirements, scores)
    asked = {requirement.benchmark for requirement in requirements}
    evidence["evaluations"] = [s.model_dump() for s in scores if s.benchmark in asked]
    return "; ".join(reasons), evidence
