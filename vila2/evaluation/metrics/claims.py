"""Caption accuracy: objects and claims of captions, checked against what the images show.

Only where the truth is known: a benchmark's captioning items, whose expected answers or object
lists say what is there. Nothing here reads the truth of a training corpus, which has none.

Longer captions state more, so precision and recall are taken within the same number of words for
every round (`matched_budget`; asked for by Oh et al., NeurIPS 2026 Evaluations and Datasets). Two
levels:

- *objects*: which kinds of thing are named. Their errors are CHAIR (Rohrbach et al., *Object
  Hallucination in Image Captioning*, EMNLP 2018): `chair_i` over mentions, `chair_s` over captions;
- *claims*: kind and attributes together (CAPTURE's idea; Dong et al., arXiv 2405.19092), where the
  truth is a caption in the image world's words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median_low
from typing import Any

from pydantic import ConfigDict

from vila2.evaluation.metrics.captions import words_of
from vila2.evaluation.metrics.scorers import parse_objects

WHOLE = 1_000_000  # a budget that cuts no caption
_LEAST_BUDGET = 3  # fewer words name nothing


@dataclass(frozen=True, slots=True)
class Truth:
    """What one image shows.

    `answers` are captions that are true of it. `objects` are the kinds of thing that it shows,
    and `vocabulary` all kinds that would be noticed in a caption, spelt as they are said; both are
    empty if the answers alone are the truth.
    """

    answers: tuple[str, ...]
    objects: frozenset[str] = frozenset()
    vocabulary: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class ClaimMetrics:
    """How true captions are within `budget` words; shares between 0 and 1, `None` without cases.

    `objects` counts the kinds named, once a caption each; `object_precision` is the share of them
    that the image shows (1 - CHAIR_i), `object_recall` the share of what images show that is
    named. `chair_s` is the share of captions that name something absent. `claims` counts statements
    of an object with its attributes.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    captions: int
    budget: int
    objects: int
    object_precision: float | None
    object_recall: float | None
    chair_s: float
    claims: int
    claim_precision: float | None
    claim_recall: float | None


def matched_budget(rounds: Sequence[Sequence[str]]) -> int:
    """The words to which captions of all `rounds` are cut: the least of the rounds' medians.

    Half of the tersest round's captions fill it, and no round gains by longer captions.
    """
    medians = [median_low(len(words_of(text)) for text in texts) for texts in rounds if texts]
    return max(_LEAST_BUDGET, min(medians, default=_LEAST_BUDGET))


def check(captions: Sequence[str], truths: Sequence[Truth], *, budget: int) -> ClaimMetrics:
    """Compare captions, cut to `budget` words, with the truth of their images.

    Raises `ValueError` for no captions, or a different number of truths.
    """
    if not captions or len(captions) != len(truths):
        raise ValueError(f"{len(captions)} captions and {len(truths)} truths; give one of each")
    objects: Counter[str] = Counter()
    claims: Counter[str] = Counter()
    false_captions = 0
    for caption, truth in zip(captions, truths, strict=True):
        text = " ".join(words_of(caption)[:budget])
        named, shown = _objects(text, truth), _shown(truth)
        objects += _tally(Counter(named), Counter(shown))
        false_captions += bool(named - shown)
        if not truth.objects:
            stated = parse_objects(text)
            best = max(
                (parse_objects(answer) for answer in truth.answers),
                key=lambda wanted: (stated & wanted).total(),
                default=Counter(),
            )
            claims += _tally(stated, best)
    return ClaimMetrics(
        captions=len(captions),
        budget=budget,
        objects=objects["said"],
        object_precision=_share(objects["right"], objects["said"]),
        object_recall=_share(objects["right"], objects["there"]),
        chair_s=false_captions / len(captions),
        claims=claims["said"],
        claim_precision=_share(claims["right"], claims["said"]),
        claim_recall=_share(claims["right"], claims["there"]),
    )


def truths_of(items: Mapping[str, Mapping[str, object]]) -> dict[str, Truth]:
    """The truth behind a benchmark's captioning items, item id -> truth.

    An item counts if it has a list `objects` (kinds of thing, as annotators name them), or
    if its metric is `object_f1`. The vocabulary is every kind that any item lists: a caption's
    other words cannot be judged.
    """
    listed = {
        key: frozenset(" ".join(words_of(str(name))) for name in item["objects"])  # type: ignore[attr-defined]
        for key, item in items.items()
        if isinstance(item.get("objects"), list) and item["objects"]
    }
    vocabulary = frozenset().union(*listed.values())
    truths = {}
    for key, item in items.items():
        answers = item.get("answers")
        texts = tuple(str(a) for a in answers) if isinstance(answers, list) else ()
        if key in listed:
            truths[key] = Truth(texts, listed[key], vocabulary)
        elif item.get("metric") == "object_f1" and texts:
            truths[key] = Truth(texts)
    return truths


def _objects(text: str, truth: Truth) -> set[str]:
    if not truth.objects:
        return {shape for _, _, shape in parse_objects(text)}
    padded = f" {text} "
    found = {name for name in truth.vocabulary if any(f" {w} " in padded for w in _forms(name))}
    # "hot dog" is no dog: a kind that is part of a longer kind found counts as that one alone.
    return {
        name
        for name in found
        if any(f" {form} " in _without(padded, found, longer_than=name) for form in _forms(name))
    }


def _shown(truth: Truth) -> set[str]:
    if truth.objects:
        # Objects in the reference captions count as present, annotated or not (as in CHAIR).
        said = (_objects(" ".join(words_of(answer)), truth) for answer in truth.answers)
        return set(truth.objects).union(*said)
    return {shape for answer in truth.answers for _, _, shape in parse_objects(answer)}


def _without(text: str, names: set[str], *, longer_than: str) -> str:
    for name in names:
        if name != longer_than and f" {longer_than} " in f" {name} ":
            for form in _forms(name):
                text = text.replace(f" {form} ", "  ")
    return text


def _forms(name: str) -> tuple[str, ...]:
    plural = {"person": "people", "man": "men", "woman": "women", "child": "children"}
    return (name, f"{name}s", f"{name}es", *([plural[name]] if name in plural else []))


def _tally(said: Counter[Any], there: Counter[Any]) -> Counter[str]:
    return Counter(said=said.total(), there=there.total(), right=(said & there).total())


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
