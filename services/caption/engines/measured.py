"""Metrics for any engine: requests, answers and busy time.

The embedded engine and Triton report the same metrics, so one dashboard covers both. Each batch of
requests is a span in the caller's trace.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager

from services.caption.engines.engine import Abilities, Engine, EngineInfo, Engines
from services.chassis.telemetry.metrics import (
    ENGINE_ANSWERS,
    ENGINE_BUSY_SECONDS,
    ENGINE_OPEN,
    ENGINE_TOKENS,
)
from vila2.engine.requests import Generation, Request, Scoring
from vila2.system import tracing


class Meter:
    """Open requests to one model, and the total time with any open."""

    def __init__(self, model: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.model, self._clock = model, clock
        self._open, self._since = 0, 0.0
        self._changing = threading.Lock()

    def change(self, more: int) -> None:
        """Change the number of open requests by `more` (negative to decrease)."""
        with self._changing:
            now = self._clock()
            if self._open:
                ENGINE_BUSY_SECONDS.labels(self.model).inc(now - self._since)
            self._open, self._since = self._open + more, now
            ENGINE_OPEN.labels(self.model).set(self._open)

    def answered(self, answers: Sequence[Generation]) -> None:
        """Count answers and their tokens."""
        ENGINE_ANSWERS.labels(self.model).inc(len(answers))
        ENGINE_TOKENS.labels(self.model, "prompt").inc(sum(a.prompt_tokens for a in answers))
        ENGINE_TOKENS.labels(self.model, "output").inc(sum(a.tokens for a in answers))


class MeasuredEngine:
    """Wraps an engine and records metrics."""

    def __init__(self, inner: Engine, meter: Meter) -> None:
        self._inner, self._meter = inner, meter
        self.image_input = inner.image_input

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Delegate to the engine and record metrics."""
        settled = 0

        def told(done: int) -> None:
            nonlocal settled
            self._meter.change(settled - done)
            settled = done
            progress(done)

        with self._span("answer", len(requests)) as span:
            self._meter.change(len(requests))
            try:
                made = self._inner.generate(requests, progress=told)
            finally:
                self._meter.change(settled - len(requests))
            span.set(gen_ai__usage__output_tokens=sum(answer.tokens for answer in made))
        self._meter.answered(made)
        return made

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Delegate and record metrics. Opens no span, because a span would outlive the step."""
        self._meter.change(1)
        try:
            for piece in self._inner.stream(request):
                if isinstance(piece, Generation):
                    self._meter.answered([piece])
                yield piece
        finally:
            self._meter.change(-1)

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """Delegate to the engine and record metrics."""
        with self._span("score", len(requests)):
            self._meter.change(len(requests))
            try:
                return self._inner.score(requests)
            finally:
                self._meter.change(-len(requests))

    def _span(self, what: str, questions: int) -> AbstractContextManager[tracing.Span]:
        return tracing.span(
            f"engine {what}",
            kind="client",
            gen_ai__request__model=self._meter.model,
            vila2__questions=questions,
        )


class MeasuredEngines:
    """Wraps the engine port so that every engine records metrics."""

    def __init__(self, inner: Engines) -> None:
        self._inner = inner
        self._meters: dict[str, Meter] = {}

    def info(self, prefix: str) -> EngineInfo:
        """Delegate to the engines."""
        return self._inner.info(prefix)

    def abilities(self, prefix: str) -> Abilities:
        """Delegate to the engines."""
        return self._inner.abilities(prefix)

    def get(self, prefix: str) -> MeasuredEngine:
        """The engine of that model, loaded if necessary and wrapped."""
        engine = self._inner.get(prefix)
        meter = self._meters.setdefault(prefix, Meter(prefix.rpartition("/")[2]))
        return MeasuredEngine(engine, meter)

    def release(self, prefix: str) -> bool:
        """Delegate to the engines."""
        return self._inner.release(prefix)

    def close(self) -> None:
        """Delegate to the engines."""
        self._inner.close()
