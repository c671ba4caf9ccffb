"""From answers to outcomes: every item by its own metric. Pure, so it is tested without a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vila2.data.answers import stance
from vila2.evaluation.metrics.choice import letter_of, read_choice
from vila2.evaluation.metrics.cider import cider_d
from vila2.evaluation.metrics.scorers import score
from vila2.evaluation.outcome import Outcome

Item = Mapping[str, Any]


def score_answers(asked: Sequence[tuple[str, Item]], answers: Sequence[str]) -> list[Outcome]:
    """Score answers in order; `asked` names each item's image by its sha256.

    CIDEr-D is computed over all of a benchmark's items together, as it is defined.
    """
    given = [(image, item, answer) for (image, item), answer in zip(asked, answers, strict=True)]
    consensus = _consensus([(item, answer) for _, item, answer in given])
    outcomes = []
    for image, item, answer in given:
        expected, read, points = _judge(item, answer, consensus)
        outcomes.append(
            Outcome(
                item=str(item["id"]),
                benchmark=str(item["benchmark"]),
                kind=str(item["kind"]),
                score=points,
                answer=answer,
                expected=expected,
                image=image,
                metric=str(item["metric"]),
                read=read,
                group=str(item.get("group") or ""),
            )
        )
    return outcomes


def _judge(
    item: Item, answer: str, consensus: Mapping[tuple[str, str], float]
) -> tuple[str, str, float]:
    """What was expected, the answer as it was read, and its score."""
    metric, answers = str(item["metric"]), item["answers"]
    if metric == "cider":
        return answers[0], "", consensus[str(item["benchmark"]), str(item["id"])]
    if metric == "choice":
        wanted, read = letter_of(answers[0], item["options"]), read_choice(answer, item["options"])
        return wanted, read, float(read == wanted)
    if metric == "likelihood":  # the answer is the option that the model prefers
        wanted, read = (letter_of(text, item["options"]) for text in (answers[0], answer))
        return wanted, read, float(read == wanted)
    read = stance(answer) if metric == "yes_no" else ""
    return answers[0], read, score(metric, answer, answers)


def _consensus(given: Sequence[tuple[Item, str]]) -> dict[tuple[str, str], float]:
    """CIDEr-D by benchmark and item: questions of two benchmarks may have the same id."""
    answers: dict[str, dict[str, str]] = {}
    references: dict[str, dict[str, Sequence[str]]] = {}
    for item, answer in given:
        if item["metric"] == "cider":
            benchmark, name = str(item["benchmark"]), str(item["id"])
            answers.setdefault(benchmark, {})[name] = answer
            references.setdefault(benchmark, {})[name] = item["answers"]
    return {
        (benchmark, name): points
        for benchmark, captions in answers.items()
        for name, points in cider_d(captions, references[benchmark]).per_item.items()
    }
