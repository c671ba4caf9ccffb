"""Asks an engine what a certificate compares: the golden questions, in three ways."""

from __future__ import annotations

from collections.abc import Sequence

from services.caption.engines.engine import CannotScore, Engine
from services.caption.serving.certificate import Observed
from vila2.engine.golden_set import GoldenItem
from vila2.engine.requests import Request, Scoring
from vila2.schemas.sampling import Sampling

_ALONE = 3
_CROWD = 64


def examine(engine: Engine, items: Sequence[GoldenItem]) -> Observed:
    """Answers to all questions, to a few alone, to a full batch, and the trainer's answers' scores.

    Raises `EngineUnavailable`.
    """
    asked = requests_of(items)
    if not asked:
        return Observed(answers=())
    answers = engine.generate(asked, progress=_ignore)
    alone = [engine.generate([request], progress=_ignore)[0] for request in asked[:_ALONE]]
    crowd = [asked[number % len(asked)] for number in range(_CROWD)]
    scorings = [Scoring(item.pixels(), item.question, item.text) for item in items]
    scores, why = None, ""
    try:
        scores = engine.score(scorings)
    except CannotScore as error:
        why = str(error)
    return Observed(answers, alone, engine.generate(crowd, progress=_ignore), scores, why)


def requests_of(items: Sequence[GoldenItem]) -> list[Request]:
    """The golden questions, decoded greedily as the trainer did."""
    return [
        Request(item.pixels(), item.question, 0, Sampling(max_new_tokens=item.max_new_tokens))
        for item in items
    ]


def _ignore(_: int) -> None:
    """Nobody waits for a part of it."""
