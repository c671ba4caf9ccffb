"""Warnings of self-training degradation: diversity collapse or length inflation of captions.

Pure functions of two rounds' caption metrics. A bound is as tight as it can be while captions that
people wrote, or that are drawn from one grammar, almost never cross it: `bench/caption_warnings.py`
measures how often they do, and how small a made collapse is still found (`docs/verdict.md`).

Both rounds' metrics must be of the same images, since every share depends on how many captions
there are. Round 1 has no earlier round of generated captions and is not compared: against web
alt-text every generated caption is longer and more alike, which is what the method is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from vila2.evaluation.metrics.captions import CaptionMetrics
from vila2.evaluation.metrics.claims import ClaimMetrics
from vila2.schemas.recipe_parts import WarningKind

FEWEST_CAPTIONS = 100  # below this the shares are too uncertain for any bound

# Diversity collapse: any of these.
DISTINCT_2_KEPT = 0.80  # of the previous round's share of different word pairs
DUPLICATES_ROSE = 0.10  # more of the captions repeat another
PREFIX_MASS_ROSE = 0.20  # more of the captions begin with the commonest five words
# Length inflation: the first, or the second together with the third.
WORDS_GREW = 1.30  # times the previous round's mean
WORDS_GREW_SOMEWHAT = 1.10
CLAIM_PRECISION_FELL = 0.03  # within equal words, where the truth is known


@dataclass(frozen=True, slots=True)
class CaptionWarning:
    """A bound that was crossed: which figure, its value in both rounds, and the bound."""

    kind: WarningKind
    figure: str
    before: float
    after: float
    bound: float
    message: str


def caption_warnings(
    before: CaptionMetrics,
    after: CaptionMetrics,
    *,
    claims_before: ClaimMetrics | None = None,
    claims_after: ClaimMetrics | None = None,
) -> list[CaptionWarning]:
    """Compare a round's captions with those of the round before.

    Empty if either has fewer than `FEWEST_CAPTIONS`. Raises `ValueError` if the variety of
    the two was counted within different budgets, since it cannot be compared then.
    """
    if before.budget != after.budget:
        raise ValueError(
            f"variety was counted within {before.budget} and {after.budget} words;"
            " compute both with one budget"
        )
    if min(before.captions, after.captions) < FEWEST_CAPTIONS:
        return []
    return [*_diversity(before, after), *_length(before, after, claims_before, claims_after)]


def stops(warnings: Iterable[CaptionWarning], stop_on: Sequence[WarningKind]) -> bool:
    """Whether any of the warnings is one on which the recipe ends the loop."""
    return any(warning.kind in stop_on for warning in warnings)


def as_json(warnings: Iterable[CaptionWarning]) -> list[dict[str, object]]:
    """The warnings as JSON, as stored with a round."""
    return [asdict(warning) for warning in warnings]


def _diversity(before: CaptionMetrics, after: CaptionMetrics) -> list[CaptionWarning]:
    found = []
    least = DISTINCT_2_KEPT * before.distinct_2
    if after.distinct_2 < least:
        found.append(
            CaptionWarning(
                "diversity-collapse", "distinct_2", before.distinct_2, after.distinct_2, least,
                f"different word pairs fell from {before.distinct_2:.1%} to"
                f" {after.distinct_2:.1%} of all",
            )
        )  # fmt: skip
    for figure, rise, words in (
        ("duplicate_rate", DUPLICATES_ROSE, "captions that repeat another"),
        ("prefix_mass", PREFIX_MASS_ROSE, "captions that begin with the commonest five words"),
    ):
        was, now = getattr(before, figure), getattr(after, figure)
        if was is not None and now is not None and now > was + rise:
            found.append(
                CaptionWarning(
                    "diversity-collapse", figure, was, now, was + rise,
                    f"{words} rose from {was:.1%} to {now:.1%}",
                )
            )  # fmt: skip
    return found


def _length(
    before: CaptionMetrics,
    after: CaptionMetrics,
    claims_before: ClaimMetrics | None,
    claims_after: ClaimMetrics | None,
) -> list[CaptionWarning]:
    was, now = before.words_mean, after.words_mean
    grown = f"captions grew from {was:.1f} to {now:.1f} words"
    if now > WORDS_GREW * was:
        return [CaptionWarning("length-inflation", "words_mean", was, now, WORDS_GREW * was, grown)]
    precise, still = _precision(claims_before), _precision(claims_after)
    if now <= WORDS_GREW_SOMEWHAT * was or precise is None or still is None:
        return []
    if still >= precise - CLAIM_PRECISION_FELL:
        return []
    return [
        CaptionWarning(
            "length-inflation", "claim_precision", precise, still, precise - CLAIM_PRECISION_FELL,
            f"{grown}, while claims that are true fell from {precise:.1%} to {still:.1%} within"
            " equal words",
        )
    ]  # fmt: skip


def _precision(claims: ClaimMetrics | None) -> float | None:
    """Precision of claims, or of objects if the truth is a list of kinds without attributes."""
    if claims is None:
        return None
    return claims.object_precision if claims.claim_precision is None else claims.claim_precision
