"""The embedded engine: the library's captioner in this process.

torch is imported when a model is first used, so a caption service with a remote engine never
imports it.
"""

from __future__ import annotations

import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from services.caption.engines.engine import EngineInfo
from vila2.engine.requests import Generation, Request, Scoring


class EmbeddedEngine:
    """One loaded model; concurrent callers share one batch."""

    def __init__(self, directory: Path, *, batch_size: int) -> None:
        from vila2.engine.captioner import Captioner
        from vila2.engine.scheduler import Scheduler

        # Half the cores: training runs alongside, and oversubscribed threads are slower than one.
        threads = max(1, (os.cpu_count() or 1) // 2)
        captioner = Captioner.load(directory, batch_size=batch_size, threads=threads)
        self._chat = captioner.chat
        self._scheduler: Any = Scheduler(captioner)
        self.image_size: int = captioner.image_size

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Generate all answers, in order."""
        made: list[Generation] = self._scheduler.generate(requests, progress=progress)
        return made

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Yield pieces of text as they are generated, then the answer."""
        from vila2.engine.scheduler import Ticket

        events: queue.Queue[Any] = queue.Queue()
        ticket = Ticket(
            request, self._chat.prompt(request.question), events.put, events.put, events.put
        )
        self._scheduler.submit([ticket])
        sent = 0
        try:
            while True:
                event = events.get()
                if isinstance(event, Exception):
                    raise event
                text = event if isinstance(event, str) else event.text
                whole = not isinstance(event, str) or not text.endswith("\ufffd")
                if whole and len(text) > sent:
                    yield text[sent:]
                    sent = len(text)
                if not isinstance(event, str):
                    yield event
                    return
        finally:
            ticket.cancelled = True

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """Score all, in order, interleaved with running generation."""
        return [score.gain for score in self._scheduler.score(requests)]

    def close(self) -> None:
        """Stop the engine's thread."""
        self._scheduler.close()


class EmbeddedEngines:
    """An LRU cache of up to `keep` loaded models, by object prefix."""

    no_scores = ""

    def __init__(
        self, locate: Callable[[str], Path], *, keep: int = 2, batch_size: int = 128
    ) -> None:
        self._locate, self._keep, self._batch_size = locate, keep, batch_size
        self._loaded: OrderedDict[str, EmbeddedEngine] = OrderedDict()
        self._lock = threading.Lock()

    def info(self) -> EngineInfo:
        """The compute libraries' versions, read without importing them."""
        versions = [f"{name} {metadata.version(name)}" for name in ("transformers", "torch")]
        return EngineInfo("embedded", ", ".join(versions))

    def get(self, prefix: str) -> EmbeddedEngine:
        """The engine of the model stored there, loaded on first use."""
        with self._lock:
            engine = self._loaded.get(prefix)
            if engine is None:
                engine = EmbeddedEngine(self._locate(prefix), batch_size=self._batch_size)
                self._loaded[prefix] = engine
            self._loaded.move_to_end(prefix)
            # Callers that still hold an evicted engine finish; it is freed with the last reference.
            while len(self._loaded) > self._keep:
                self._loaded.popitem(last=False)
            return engine

    def release(self, prefix: str) -> bool:
        """Drop a model from the cache; requests in progress finish."""
        with self._lock:
            self._loaded.pop(prefix, None)
        return True

    def close(self) -> None:
        """Drop all models."""
        with self._lock:
            self._loaded.clear()
