"""Asks an engine what a certificate compares: the golden questions, in three ways."""

from __future__ import annotations

from collections.abc import Sequence

from services.caption.engines.engine import CannotScore, Engine, ModelRefused
from services.caption.serving.certificate import Observed
from vila2.engine.golden_set import GoldenItem
from vila2.engine.requests import Generation, Request, Scoring
from vila2.schemas.sampling import Sampling

_ALONE = 3
_CROWD = 64


def examine(engine: Engine, items: Sequence[GoldenItem]) -> Observed:
    """Answers to all questions, to a few alone, to a full batch, and the trainer's answers' scores.

    Raises `EngineUnavailable`, or `ModelRefused` if answers are missing.
    """
    asked = requests_of(items)
    if not asked:
        return Observed(answers=())
    answers = engine.generate(asked, progress=_ignore)
    alone = [answer for request in asked[:_ALONE] for answer in _all(engine, [request])]
    crowd = _all(engine, [asked[number % len(asked)] for number in range(_CROWD)])
    pairs = zip(asked, items, strict=True)
    scores, why = None, ""
    try:
        scores = engine.score([Scoring(r.pixels, r.question, item.text) for r, item in pairs])
    except CannotScore as error:
        why = str(error)
    return Observed(answers, alone, crowd, scores, why)


def _all(engine: Engine, asked: Sequence[Request]) -> list[Generation]:
    """As many answers as questions: what is missing must not pass for what need not be compared."""
    made = engine.generate(asked, progress=_ignore)
    if len(made) != len(asked):
        raise ModelRefused(f"the engine gave {len(made)} answers to {len(asked)} golden questions")
    return made


def requests_of(items: Sequence[GoldenItem]) -> list[Request]:
    """The golden questions, decoded greedily as the trainer did."""
    return [
        Request(item.pixels(), item.question, 0, Sampling(max_new_tokens=item.max_new_tokens))
        for item in items
    ]


def _ignore(_: int) -> None:
    """Nobody waits for a part of it."""
