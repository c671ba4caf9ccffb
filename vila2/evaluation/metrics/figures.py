"""Secondary figures of a metric: declared once per metric, computed from outcomes. Pure.

Every figure is a ratio of two sums over items: precision is (right among those said to be yes) over
(said to be yes), F1 is 2 x (rightly said yes) over (said yes + expected yes). So all of them are
resampled as the mean is, whole images at a time, and none is averaged over items that it is not
defined for. A benchmark's verdict rests on its mean alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import ConfigDict

from vila2.evaluation.outcome import Outcome
from vila2.evaluation.statistics.ratios import ratio_intervals

MOST_KINDS = 20
_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure over the `n` items of one `kind` (empty: of all kinds), with its interval.

    It is 0 if the denominator is 0 (precision of a model that never answers yes).
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    name: str
    kind: str
    n: int
    value: float
    low: float
    high: float


# An item's contribution to a figure: to the numerator and to the denominator.
Part = Callable[[Outcome], tuple[float, float]]


def _share(true: Callable[[Outcome], bool]) -> Part:
    return lambda outcome: (float(true(outcome)), 1.0)


def _precision(outcome: Outcome) -> tuple[float, float]:
    return float(_said_yes(outcome) and outcome.score > 0), float(_said_yes(outcome))


def _recall(outcome: Outcome) -> tuple[float, float]:
    return float(_wants_yes(outcome) and outcome.score > 0), float(_wants_yes(outcome))


def _f1(outcome: Outcome) -> tuple[float, float]:
    hit = _said_yes(outcome) and outcome.score > 0
    return 2.0 * hit, float(_said_yes(outcome)) + float(_wants_yes(outcome))


def _said_yes(outcome: Outcome) -> bool:
    return outcome.read == "yes"


def _wants_yes(outcome: Outcome) -> bool:
    return outcome.expected.casefold().strip().startswith("yes")


_UNREAD = _share(lambda outcome: not outcome.read)
_RIGHT = _share(lambda outcome: outcome.score >= 1 - _EPSILON)
_IOU50 = _share(lambda outcome: outcome.score >= 0.5)
_FIRST = _share(lambda outcome: outcome.read == "A")
_MEAN: Part = lambda outcome: (outcome.score, 1.0)  # noqa: E731 - stands among its like

FIGURES: Mapping[str, Mapping[str, Part]] = {
    "anls": {"exact": _RIGHT},
    "choice": {"first_option_rate": _FIRST, "unread_rate": _UNREAD},
    "edit": {"exact": _RIGHT},
    "iou": {"accuracy_at_0.5": _IOU50},
    "yes_no": {
        "precision": _precision,
        "recall": _recall,
        "f1": _f1,
        "yes_rate": _share(_said_yes),
        "unread_rate": _UNREAD,
    },
}


def figures_of(
    outcomes: Sequence[Outcome],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[Figure, ...]:
    """The figures of one benchmark's outcomes: over all, then of each kind with the kind's mean.

    If items were scored by several metrics, a figure is over those of its metric. With more
    than `MOST_KINDS` kinds there are none by kind: that many intervals are not informative.
    """
    kinds = list(dict.fromkeys(outcome.kind for outcome in outcomes))
    found = _figures(outcomes, "", confidence, resamples, seed)
    if 1 < len(kinds) <= MOST_KINDS:
        for kind in kinds:
            chosen = [outcome for outcome in outcomes if outcome.kind == kind]
            found += _figures(chosen, kind, confidence, resamples, seed)
    return tuple(found)


def _figures(
    outcomes: Sequence[Outcome], kind: str, confidence: float, resamples: int, seed: int
) -> list[Figure]:
    found: list[Figure] = []
    for metric in dict.fromkeys(outcome.metric for outcome in outcomes):
        chosen = [outcome for outcome in outcomes if outcome.metric == metric]
        parts = dict(FIGURES.get(metric, {}))
        if kind:
            parts = {"mean": _MEAN, **parts}
        columns = [[part(outcome) for part in parts.values()] for outcome in chosen]
        names = list(parts)
        if pairs := _all_of_group_right(chosen):
            names.append("whole_group_right")
            columns = [[*row, pair] for row, pair in zip(columns, pairs, strict=True)]
        if not names:
            continue
        intervals = ratio_intervals(
            columns,
            clusters=[outcome.image or outcome.item for outcome in chosen],
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
        found += [
            Figure(name, kind, len(chosen), interval.mid, interval.low, interval.high)
            for name, interval in zip(names, intervals, strict=True)
        ]
    return found


def _all_of_group_right(outcomes: Sequence[Outcome]) -> list[tuple[float, float]]:
    """Each item's part in the share of groups answered rightly throughout; none without groups.

    A group counts once, with its first item.
    """
    sizes = Counter(outcome.group for outcome in outcomes if outcome.group)
    if not sizes:
        return []
    right = Counter(o.group for o in outcomes if o.group and o.score >= 1 - _EPSILON)
    seen: set[str] = set()
    parts = []
    for outcome in outcomes:
        first = bool(outcome.group) and outcome.group not in seen
        seen.add(outcome.group)
        whole = first and right[outcome.group] == sizes[outcome.group]
        parts.append((float(whole), float(first)))
    return parts
