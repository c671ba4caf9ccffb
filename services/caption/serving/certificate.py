"""The certificate of a deployment: does this engine answer as the trainer did? Pure.

It holds for one checkpoint, engine and version. `examination.py` asks the engine.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from services.caption.engines.engine import EngineInfo
from vila2.engine.golden_set import GoldenItem
from vila2.engine.requests import Generation
from vila2.schemas.rest.caption import Certificate, CertificateCheck

# Half precision and different kernels occasionally flip a near tie. A wrong projector, tokenizer or
# normalisation changes nearly every answer.
LEAST_SHARE = 0.75
MOST_DRIFT = 0.05  # nats per token, mean over the answers


@dataclass(frozen=True, slots=True)
class Observed:
    """What the engine gave: to each golden question, to the first few alone, and to a full batch.

    `scores` are the consistency scores of the trainer's answers, in nats per token; `None` with the
    reason in `no_scores` if the engine has none. `crowd` repeats the questions in order.
    """

    answers: Sequence[Generation]
    alone: Sequence[Generation] = ()
    crowd: Sequence[Generation] = ()
    scores: Sequence[float] | None = None
    no_scores: str = ""


def certify(items: Sequence[GoldenItem], seen: Observed, engine: EngineInfo) -> Certificate:
    """Compare with what the trainer recorded; `reason` is empty if every check passes.

    Fails if there are no items, if the numbers of items and answers differ, or if any figure is not
    finite.
    """
    counted = _counted(items, seen)
    checks = [counted]
    if counted.passed:
        checks += [
            _prompts(items, seen.answers),
            _texts(items, seen.answers),
            _log_probabilities(items, seen.answers),
            *_scores(items, seen),
            *_batches(seen),
        ]
    return Certificate(
        engine=engine.kind,
        version=engine.version,
        items=len(items),
        checks=checks,
        reason="; ".join(check.detail for check in checks if check.passed is False),
        at=time.time(),
    )


def _counted(items: Sequence[GoldenItem], seen: Observed) -> CertificateCheck:
    detail = ""
    if not items:
        detail = "its golden set is empty"
    elif len(seen.answers) != len(items):
        detail = f"the engine gave {len(seen.answers)} answers to {len(items)} golden questions"
    return CertificateCheck(
        name="golden set",
        passed=not detail,
        value=len(seen.answers),
        bound=len(items),
        detail=detail,
    )


def _prompts(items: Sequence[GoldenItem], answers: Sequence[Generation]) -> CertificateCheck:
    """A doubled first token, or an image of another number of tokens, shows here."""
    name = "tokens of the prompts"
    known = [(i, a) for i, a in zip(items, answers, strict=True) if i.prompt_tokens]
    if not known:
        return _unchecked(name, "the golden set does not say")
    wrong = [(item, answer) for item, answer in known if item.prompt_tokens != answer.prompt_tokens]
    detail = ""
    if wrong:
        item, answer = wrong[0]
        detail = (
            f"the engine reads {answer.prompt_tokens} tokens for {item.question!r}, the trainer "
            f"{item.prompt_tokens}: a token is doubled or missing"
        )
    return CertificateCheck(name=name, passed=not wrong, value=len(wrong), bound=0, detail=detail)


def _texts(items: Sequence[GoldenItem], answers: Sequence[Generation]) -> CertificateCheck:
    pairs = list(zip(items, answers, strict=True))
    other = [(item, answer) for item, answer in pairs if item.text != answer.text]
    same, detail = len(pairs) - len(other), ""
    passed = same >= LEAST_SHARE * len(items)
    if not passed:
        item, answer = other[0]
        detail = (
            f"{same} of {len(items)} golden answers match the trainer's: to {item.question!r} the "
            f"engine answers {answer.text[:80]!r}, the trainer {item.text[:80]!r}"
        )
    share = same / len(items)
    return CertificateCheck(
        name="greedy answers", passed=passed, value=share, bound=LEAST_SHARE, detail=detail
    )


def _log_probabilities(
    items: Sequence[GoldenItem], answers: Sequence[Generation]
) -> CertificateCheck:
    """Also of answers that differ: they tell how far the engine is from the trainer."""
    drift = _mean(
        math.nan if answer.logprob is None else abs(item.logprob - answer.logprob)
        for item, answer in zip(items, answers, strict=True)
    )
    return _near("log-probabilities", drift, "log-probability of the golden answers")


def _scores(items: Sequence[GoldenItem], seen: Observed) -> list[CertificateCheck]:
    """The trainer's answers under the engine: how likely with the image, against its reference."""
    name = "scores of the trainer's answers"
    if seen.scores is None:
        return [_unchecked(name, seen.no_scores)]
    if any(item.gain is None for item in items):
        return [_unchecked(name, "the golden set has none")]
    pairs = zip(items, seen.scores, strict=True)
    drift = _mean(abs((item.gain or 0.0) - score) for item, score in pairs)
    return [_near(name, drift, "score of the golden answers")]


def _batches(seen: Observed) -> list[CertificateCheck]:
    """One at a time, and as many as fit, are answered as the golden questions were."""
    checks = []
    for name, given in (("answers alone", seen.alone), ("answers in a batch", seen.crowd)):
        if not given:
            continue
        expected = [seen.answers[number % len(seen.answers)].text for number in range(len(given))]
        pairs = zip(expected, given, strict=True)
        same = sum(text == answer.text for text, answer in pairs) / len(given)
        passed = same >= LEAST_SHARE
        detail = f"{name}: {same:.0%} are those given together with others"
        checks.append(
            CertificateCheck(
                name=name, passed=passed, value=same, bound=LEAST_SHARE,
                detail="" if passed else detail,
            )
        )  # fmt: skip
    return checks


def _near(name: str, drift: float, what: str) -> CertificateCheck:
    """Whether a mean difference is within the bound; one that is no number is not."""
    finite = math.isfinite(drift)
    passed, detail = finite and drift <= MOST_DRIFT, ""
    if not finite:
        detail = f"a {what} is not a finite number"
    elif not passed:
        detail = f"{name} are {drift:.3f} nats per token from the trainer's"
    # JSON has no NaN and no infinity.
    value = drift if finite else None
    return CertificateCheck(name=name, passed=passed, value=value, bound=MOST_DRIFT, detail=detail)


def _unchecked(name: str, why: str) -> CertificateCheck:
    return CertificateCheck(
        name=name, passed=None, value=None, bound=None, detail=f"not checked: {why}"
    )


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found)
