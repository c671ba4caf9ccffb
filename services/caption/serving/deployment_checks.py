"""Checks of a model before it is loaded for an endpoint. Pure.

`certificate.py` then decides whether it answers as its trainer recorded.
"""

from __future__ import annotations

from collections.abc import Sequence

from vila2.schemas.rest.caption import Requirement
from vila2.schemas.rest.training import Evaluation


def wrong_weights(*, registered: str, stored: str) -> str:
    """Why the stored weights differ from the registered ones, by digest; empty if they do not."""
    if stored == registered:
        return ""
    if not stored:
        return "the model's stored files are missing: train or import it again"
    return (
        f"the stored weights are not those that were registered (digest {stored[:12]}, "
        f"registered {registered[:12]})"
    )


def deciding(
    requirements: Sequence[Requirement], evaluations: Sequence[Evaluation]
) -> list[Evaluation]:
    """The newest evaluation on each required benchmark, without its further figures."""
    newest = {e.benchmark: e for e in sorted(evaluations, key=lambda e: e.at)}
    names = dict.fromkeys(requirement.benchmark for requirement in requirements)
    found = [newest[name] for name in names if name in newest]
    return [evaluation.model_copy(update={"figures": []}) for evaluation in found]


def unmet(requirements: Sequence[Requirement], evaluations: Sequence[Evaluation]) -> list[str]:
    """The requirements that are not met by the newest evaluation, with reasons."""
    newest = {e.benchmark: e for e in deciding(requirements, evaluations)}
    reasons = (_shortfall(r, newest.get(r.benchmark)) for r in requirements)
    return [reason for reason in reasons if reason]


def _shortfall(requirement: Requirement, evaluation: Evaluation | None) -> str:
    name = requirement.benchmark
    if evaluation is None:
        return f"{name}: not evaluated"
    by_value = requirement.bound == "value"
    reached = evaluation.value if by_value else evaluation.low
    what = "score" if by_value else "low end of the interval"
    if reached is None:
        return f"{name}: its score has no interval"
    if reached >= requirement.minimum:  # false for NaN
        return ""
    return (
        f"{name}: {what} {reached:.4f} is below {requirement.minimum:g} "
        f"(job {evaluation.job}, {evaluation.version})"
    )
