"""Captioning one chunk of images: prompts, attempts, the gate, quarantine.

Each sample's prompt is drawn with its own seed. A caption that fails the gate is retried with
another seed and the retry temperature; after the last attempt the sample is quarantined with the
reason. There is no fallback to the old caption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from services.caption.captioning.how import Captioning, Spent
from services.caption.captioning.images import Prepared
from services.caption.engines.engine import Engine
from services.caption.gate.gate import GateLimits, check
from services.chassis.telemetry.metrics import CAPTION_CONSISTENCY, REJECTIONS, RETRIES
from vila2.data.images.decoding import ImageRejected
from vila2.data.layers import CAPTIONED, QUARANTINED, CaptionRow
from vila2.data.sample import Sample
from vila2.engine.requests import Generation, ImageData, Request, Scoring
from vila2.specialists import SETTLED_REASONS, task_reason

INCONSISTENT = "inconsistent"


def caption_chunk(
    samples: Sequence[Sample],
    images: Sequence[Prepared],
    how: Captioning,
    engine: Engine,
    *,
    afford: Callable[[int], None],
    progress: Callable[[int], None],
) -> tuple[list[CaptionRow], Spent]:
    """Caption every sample or quarantine it with a reason; rows are in the samples' order.

    `afford` is called with the number of requests before they are sent, and may raise.
    """
    limits = GateLimits.of(how.gate)
    rows: dict[int, CaptionRow] = {}
    usable: dict[int, ImageData] = {}
    spent = Spent()
    for i, (sample, image) in enumerate(zip(samples, images, strict=True)):
        if isinstance(image, ImageRejected):
            # From a version whose pixels were not checked at ingest.
            rows[i] = _undecodable(sample, how, image.reason)
        else:
            usable[i] = image
    waiting = list(usable)
    for attempt in range(how.gate.attempts):
        if not waiting:
            break
        requests = [_request(samples[i], usable[i], how, attempt) for i in waiting]
        settled = len(samples) - len(waiting)
        afford(len(requests))
        answers = engine.generate(requests, progress=partial(_beyond, progress, settled))
        spent.add(_sum(answers))
        reasons = [
            _reason_to_drop(how, request, answer, limits)
            for request, answer in zip(requests, answers, strict=True)
        ]
        scores = _scores(how, engine, requests, answers, reasons)
        failed = []
        for i, request, answer, reason, score in zip(
            waiting, requests, answers, reasons, scores, strict=True
        ):
            reason = reason or _inconsistent(how, score)
            row = _row(samples[i], how, request, answer, attempt=attempt, reason=reason or "")
            rows[i] = replace(row, consistency=score)
            if reason and reason not in SETTLED_REASONS and not answer.refusal:
                REJECTIONS.labels(reason).inc()
                failed.append(i)
        RETRIES.inc(len(failed) if attempt + 1 < how.gate.attempts else 0)
        waiting = failed
    return [rows[i] for i in range(len(samples))], spent


def _sum(answers: Sequence[Generation]) -> Spent:
    return Spent(
        requests=len(answers),
        prompt_tokens=sum(answer.prompt_tokens for answer in answers),
        tokens=sum(answer.tokens for answer in answers),
        cost=sum(answer.cost for answer in answers),
    )


def _reason_to_drop(
    how: Captioning, request: Request, answer: Generation, limits: GateLimits
) -> str | None:
    """The task's filter first if its verdict is final, else the gate and then the filter."""
    if answer.refusal:
        return answer.refusal.partition(":")[0]
    by_task = task_reason(how.task, answer.text)
    if by_task in SETTLED_REASONS:
        return by_task
    by_gate = check(
        answer.text, prompt=request.question, finish_reason=answer.finish_reason, limits=limits
    )
    return by_gate or by_task


def _scores(
    how: Captioning,
    engine: Engine,
    requests: Sequence[Request],
    answers: Sequence[Generation],
    reasons: Sequence[str | None],
) -> list[float | None]:
    """Consistency scores of the answers that pass the gate; `None` for the others."""
    scores: list[float | None] = [None] * len(requests)
    if not how.scored:
        return scores
    chosen = [number for number, reason in enumerate(reasons) if not reason]
    asked = [
        Scoring(request.pixels, request.question, answers[n].text, request.sha256)
        for n, request in ((n, requests[n]) for n in chosen)
    ]
    for number, score in zip(chosen, engine.score(asked), strict=True):
        scores[number] = score
        CAPTION_CONSISTENCY.observe(score)
    return scores


def _inconsistent(how: Captioning, score: float | None) -> str | None:
    least = how.gate.min_consistency
    return INCONSISTENT if least is not None and score is not None and score < least else None


def sample_seed(seed: int, key: str, attempt: int) -> int:
    """The seed of one attempt at one sample: the same on every machine, in every batch."""
    text = f"{seed}\x1f{key}\x1f{attempt}"
    digest = hashlib.blake2b(text.encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")


def _beyond(progress: Callable[[int], None], settled: int, done: int) -> None:
    """Report an engine's progress on top of what earlier attempts have settled."""
    progress(settled + done)


def _request(sample: Sample, image: ImageData, how: Captioning, attempt: int) -> Request:
    # The prompt depends on the sample alone, so that a retry asks the same question.
    prompt = how.prompts[sample_seed(how.seed, sample.key, 0) % len(how.prompts)]
    sampling = how.sampling
    if attempt:
        sampling = sampling.model_copy(update={"temperature": how.gate.retry_temperature})
    return Request(
        image=image,
        question=prompt,
        seed=sample_seed(how.seed, sample.key, attempt),
        sampling=sampling,
        sha256=sample.sha256,
        system=how.system,
    )


def _undecodable(sample: Sample, how: Captioning, reason: str) -> CaptionRow:
    return CaptionRow(
        key=sample.key,
        sha256=sample.sha256,
        caption="",
        status=QUARANTINED,
        reason=reason,
        prompt_id="",
        prompt="",
        model=how.model,
        seed=0,
        attempt=0,
        temperature=0.0,
        tokens=0,
        logprob=0.0,
        finish_reason="not-asked",
    )


def _row(
    sample: Sample,
    how: Captioning,
    request: Request,
    answer: Generation,
    *,
    attempt: int,
    reason: str,
) -> CaptionRow:
    return CaptionRow(
        key=sample.key,
        sha256=sample.sha256,
        # A refused request has no text; the engine's error details are stored instead.
        caption=answer.refusal or answer.text,
        status=QUARANTINED if reason else CAPTIONED,
        reason=reason,
        prompt_id=f"p{how.prompts.index(request.question)}",
        prompt=request.question,
        model=how.model,
        seed=request.seed,
        attempt=attempt,
        temperature=request.sampling.temperature,
        tokens=answer.tokens,
        logprob=answer.logprob,
        finish_reason=answer.finish_reason,
    )
