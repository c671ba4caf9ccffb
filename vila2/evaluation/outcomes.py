"""Per-item outcomes: a model's answer to one benchmark item, and its score.

Every later statement about a model (a benchmark's score, a verdict, the report) is
computed from these rows, so a claim can always be traced to the answers behind it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from vila2.evaluation.metrics.figures import Figure, figures_of
from vila2.evaluation.outcome import Outcome
from vila2.evaluation.statistics.bootstrap import mean_interval
from vila2.system.files import file_atomically

__all__ = [
    "BenchmarkScore",
    "Outcome",
    "benchmark_scores",
    "by_benchmark",
    "by_kind",
    "item_images",
    "item_scores",
    "macro_score",
    "read_outcomes",
    "write_outcomes",
]


@dataclass(frozen=True, slots=True)
class BenchmarkScore:
    """A benchmark's mean score over its `n` items, with the bounds of its interval.

    `metric` is what all items were scored by, `mixed` for several. `figures` are what that metric
    reports besides the mean (`figures.py`).
    """

    benchmark: str
    n: int
    score: float
    low: float
    high: float
    metric: str = ""
    figures: tuple[Figure, ...] = ()


def by_benchmark(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Group outcomes by benchmark, both in order of first appearance."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.benchmark, []).append(outcome)
    return groups


def by_kind(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """Group outcomes by the sort of question, both in order of first appearance."""
    groups: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.kind, []).append(outcome)
    return groups


def item_scores(outcomes: Iterable[Outcome]) -> dict[str, dict[str, float]]:
    """Return benchmark -> item -> score, the shape that `statistics` and `verdict` compare.

    Raises `ValueError` when an item appears twice in one benchmark.
    """
    scores: dict[str, dict[str, float]] = {}
    for outcome in outcomes:
        items = scores.setdefault(outcome.benchmark, {})
        if outcome.item in items:
            raise ValueError(f"benchmark {outcome.benchmark}: item {outcome.item!r} appears twice")
        items[outcome.item] = outcome.score
    return scores


def item_images(outcomes: Iterable[Outcome]) -> dict[str, dict[str, str]]:
    """Return benchmark -> item -> image, the clusters of `statistics.macro_difference`.

    An item without an image gets a cluster of its own.
    """
    images: dict[str, dict[str, str]] = {}
    for outcome in outcomes:
        image = outcome.image or f"{outcome.benchmark}/{outcome.item}"
        images.setdefault(outcome.benchmark, {})[outcome.item] = image
    return images


def benchmark_scores(
    outcomes: Iterable[Outcome],
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> list[BenchmarkScore]:
    """Score each benchmark: its mean, and its metric's figures, with intervals over images."""
    outcomes = list(outcomes)
    images = item_images(outcomes)
    groups = by_benchmark(outcomes)
    scores = []
    for benchmark, items in item_scores(outcomes).items():
        interval = mean_interval(
            list(items.values()),
            clusters=[images[benchmark][item] for item in items],
            confidence=confidence,
            resamples=resamples,
            seed=seed,
        )
        metrics = {outcome.metric for outcome in groups[benchmark]}
        scores.append(
            BenchmarkScore(
                benchmark,
                len(items),
                interval.mid,
                interval.low,
                interval.high,
                metrics.pop() if len(metrics) == 1 else "mixed",
                figures_of(
                    groups[benchmark], confidence=confidence, resamples=resamples, seed=seed
                ),
            )
        )
    return scores


def macro_score(scores: Mapping[str, Mapping[str, float]]) -> float:
    """Return the mean over benchmarks of each benchmark's mean: every benchmark counts alike."""
    if not scores or not all(scores.values()):
        raise ValueError("a macro average needs at least one item in every benchmark")
    return math.fsum(math.fsum(s.values()) / len(s) for s in scores.values()) / len(scores)


def write_outcomes(path: Path, outcomes: Iterable[Outcome]) -> int:
    """Write outcomes as JSON lines and return how many; the file appears only when complete."""
    count = 0
    with (
        file_atomically(path) as partial,
        partial.open("w", encoding="utf-8", newline="\n") as file,
    ):
        for count, outcome in enumerate(outcomes, start=1):  # noqa: B007 - the count is returned
            file.write(json.dumps(asdict(outcome), ensure_ascii=False, allow_nan=False) + "\n")
    return count


def read_outcomes(path: Path) -> list[Outcome]:
    """Read what `write_outcomes` wrote.

    Raises `ValueError` naming the file and the line for anything that is not an outcome.
    """
    # Split on \n alone: answers may contain U+2028 and the like, at which splitlines would split.
    lines = path.read_text(encoding="utf-8").split("\n")
    if lines[-1]:
        raise ValueError(f"{path}: the last line is cut short; write the outcomes again")
    return [
        _outcome(line, where=f"{path}:{number}") for number, line in enumerate(lines[:-1], start=1)
    ]


_TYPES: Mapping[str, type | tuple[type, ...]] = {"str": str, "float": (int, float)}


def _outcome(line: str, *, where: str) -> Outcome:
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise TypeError("not a JSON object")
        for field in fields(Outcome):
            value = row.get(field.name, "")
            if isinstance(value, bool) or not isinstance(value, _TYPES[str(field.type)]):
                raise TypeError(f"field {field.name!r} is not of type {field.type}")
        return Outcome(**row)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: not an outcome: {error}") from error
