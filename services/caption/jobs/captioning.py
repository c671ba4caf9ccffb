"""Captioning with the gate: the code path shared by previews and layer jobs.

Each sample's prompt is drawn with its own seed. A caption that fails the gate is retried with
another seed and the retry temperature; after the last attempt the sample is quarantined with the
reason. There is no fallback to the old caption.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from services.caption.engines.engine import Engine, Engines
from services.caption.gate.gate import GateLimits, check
from services.caption.jobs.image_decoding import decoded_ahead
from services.chassis.telemetry.metrics import (
    CAPTION_CONSISTENCY,
    CAPTION_TOKENS,
    CAPTION_WORDS,
    CAPTIONS,
    REJECTIONS,
    RETRIES,
)
from services.chassis.web.errors import Invalid
from vila2.data.images.decoding import ImageRejected
from vila2.data.layers import CAPTIONED, QUARANTINED, CaptionRow
from vila2.data.sample import Sample
from vila2.engine.requests import Generation, Request, Scoring
from vila2.schemas.rest.caption import CaptionsIn, LayerJobIn, Preview, PreviewCaption, PreviewIn
from vila2.schemas.sampling import Gate, Sampling
from vila2.specialists import SETTLED_REASONS, task_reason

INCONSISTENT = "inconsistent"


@dataclass(frozen=True, slots=True)
class Captioning:
    """Everything that determines a caption besides the image."""

    model: str
    prompts: Sequence[str]
    sampling: Sampling
    gate: Gate
    seed: int
    task: str = "general"
    score: bool = False  # store consistency scores; it changes no caption

    @classmethod
    def of(cls, body: LayerJobIn | PreviewIn | CaptionsIn, *, model: str) -> Captioning:
        """From a request; `model` is the registered model that its name resolves to."""
        return cls(
            model=model,
            prompts=body.prompts,
            sampling=body.sampling,
            gate=body.gate,
            seed=body.seed,
            task=body.task,
            score=body.score,
        )

    @property
    def scored(self) -> bool:
        """Whether consistency scores are needed."""
        return self.score or self.gate.min_consistency is not None


def check_scoring(body: LayerJobIn | PreviewIn | CaptionsIn, engines: Engines) -> None:
    """Raise `Invalid` if the request needs scores and the engines cannot score."""
    if engines.no_scores and (body.score or body.gate.min_consistency is not None):
        raise Invalid(
            engines.no_scores,
            field="score" if body.score else "gate.min_consistency",
            fix="leave it out, or caption with another engine",
        )


def caption_samples(
    samples: Sequence[Sample],
    how: Captioning,
    engine: Engine,
    *,
    progress: Callable[[int], None] = lambda _: None,
) -> list[CaptionRow]:
    """Caption every sample or quarantine it with a reason; rows are in the samples' order.

    Images are decoded one chunk ahead of the engine, so memory does not grow with the shard.
    """
    rows: list[CaptionRow] = []
    for chunk, pixels in decoded_ahead(samples, size=engine.image_size):
        done = len(rows)
        made = _caption_chunk(chunk, pixels, how, engine, partial(_beyond, progress, done))
        _count(made)
        rows += made
    return rows


def _count(rows: Sequence[CaptionRow]) -> None:
    for row in rows:
        CAPTIONS.labels(row.reason or CAPTIONED).inc()
        CAPTION_TOKENS.inc(row.tokens)
        RETRIES.inc(row.attempt)
        if row.status == CAPTIONED:
            CAPTION_WORDS.observe(len(row.caption.split()))


def _caption_chunk(
    samples: Sequence[Sample],
    pixels: Sequence[np.ndarray | ImageRejected],
    how: Captioning,
    engine: Engine,
    progress: Callable[[int], None],
) -> list[CaptionRow]:
    limits = GateLimits.of(how.gate)
    rows: dict[int, CaptionRow] = {}
    images: dict[int, np.ndarray] = {}
    for i, (sample, image) in enumerate(zip(samples, pixels, strict=True)):
        if isinstance(image, ImageRejected):
            # From a version whose pixels were not checked at ingest.
            rows[i] = _undecodable(sample, how, image.reason)
        else:
            images[i] = image
    waiting = list(images)
    for attempt in range(how.gate.attempts):
        requests = [_request(samples[i], images[i], how, attempt) for i in waiting]
        settled = len(samples) - len(waiting)
        answers = engine.generate(requests, progress=partial(_beyond, progress, settled))
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
            if reason and reason not in SETTLED_REASONS:
                REJECTIONS.labels(reason).inc()
                failed.append(i)
        waiting = failed
        if not waiting:
            break
    return [rows[i] for i in range(len(samples))]


def _reason_to_drop(
    how: Captioning, request: Request, answer: Generation, limits: GateLimits
) -> str | None:
    """The task's filter first if its verdict is final, else the gate and then the filter."""
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
    """Consistency scores of the answers that pass, `None` for the others."""
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


def _request(sample: Sample, pixels: np.ndarray, how: Captioning, attempt: int) -> Request:
    # The prompt depends on the sample alone, so that a retry asks the same question.
    prompt = how.prompts[sample_seed(how.seed, sample.key, 0) % len(how.prompts)]
    sampling = how.sampling
    if attempt:
        sampling = sampling.model_copy(update={"temperature": how.gate.retry_temperature})
    return Request(
        pixels=pixels,
        question=prompt,
        seed=sample_seed(how.seed, sample.key, attempt),
        sampling=sampling,
        sha256=sample.sha256,
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
        caption=answer.text,
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


def preview_of(rows: Sequence[CaptionRow]) -> Preview:
    """Rows as the preview response."""
    return Preview(
        captions=[
            PreviewCaption(
                key=row.key,
                caption=row.caption,
                status=row.status,
                reason=row.reason,
                prompt=row.prompt,
                attempt=row.attempt,
                tokens=row.tokens,
                logprob=row.logprob,
                consistency=row.consistency,
            )
            for row in rows
        ]
    )
