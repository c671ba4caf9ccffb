"""The embedded engine: the library's continuous batch in this process, for the composed layout.

torch is imported when a model is first used, so a caption service with a remote engine never
imports it.
"""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from services.caption.engines.engine import NO_SYSTEM, Abilities, EngineInfo
from services.caption.engines.model_cache import ModelCache
from services.caption.engines.streams import pieces_of_growing
from vila2.engine.requests import Generation, ImageInput, Request, Scoring


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
        self.image_input = ImageInput(side=captioner.image_size)

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
        try:
            yield from pieces_of_growing(events)
        finally:
            ticket.cancelled = True

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """Score all, in order, interleaved with running generation."""
        return [score.gain for score in self._scheduler.score(requests)]

    def close(self) -> None:
        """Stop the engine's thread."""
        self._scheduler.close()


class EmbeddedEngines:
    """Models of the composed layout, loaded in this process; `locate` finds a model's folder."""

    def __init__(
        self, locate: Callable[[str], Path], *, keep: int = 2, batch_size: int = 128
    ) -> None:
        self._cache = ModelCache(
            lambda prefix: EmbeddedEngine(locate(prefix), batch_size=batch_size), keep=keep
        )

    def info(self, prefix: str) -> EngineInfo:
        """The compute libraries' versions, read without importing them."""
        return EngineInfo("embedded", compute_versions())

    def abilities(self, prefix: str) -> Abilities:
        """One image and one question, as these models were trained."""
        return Abilities(no_system=NO_SYSTEM)

    def get(self, prefix: str) -> EmbeddedEngine:
        """The engine of the model stored there, loaded on first use."""
        return self._cache.get(prefix)

    def release(self, prefix: str) -> bool:
        """Drop a model from memory; requests in progress finish."""
        return self._cache.release(prefix)

    def close(self) -> None:
        """Drop all models."""
        self._cache.close()


def compute_versions() -> str:
    """Versions of transformers and torch."""
    return ", ".join(f"{name} {metadata.version(name)}" for name in ("transformers", "torch"))
