"""The embedded engine: the library's captioner in this process.

torch is reached through the library only when a model is first used, so that a caption service
that talks to a remote engine never imports it.
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
    """One loaded model; requests of all callers run in one batch."""

    def __init__(self, directory: Path, *, batch_size: int) -> None:
        from vila2.engine.captioner import Captioner
        from vila2.engine.scheduler import Scheduler

        # Half the cores: jobs train beside it, and threads that wait for each other are slower
        # than one.
        threads = max(1, (os.cpu_count() or 1) // 2)
        captioner = Captioner.load(directory, batch_size=batch_size, threads=threads)
        self._chat = captioner.chat
        self._scheduler: Any = Scheduler(captioner)
        self.image_size: int = captioner.image_size

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Answer all, in order."""
        made: list[Generation] = self._scheduler.generate(requests, progress=progress)
        return made

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Pieces of the text as they are made, then the answer."""
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
        """Score all, in order, between the steps of what is being answered."""
        return [score.gain for score in self._scheduler.score(requests)]

    def close(self) -> None:
        """End the engine's thread."""
        self._scheduler.close()


class EmbeddedEngines:
    """Loaded models by object prefix, the least recently used dropped beyond `keep`."""

    no_scores = ""

    def __init__(
        self, locate: Callable[[str], Path], *, keep: int = 2, batch_size: int = 128
    ) -> None:
        self._locate, self._keep, self._batch_size = locate, keep, batch_size
        self._loaded: OrderedDict[str, EmbeddedEngine] = OrderedDict()
        self._lock = threading.Lock()

    def info(self) -> EngineInfo:
        """The libraries that compute; they are not imported for it."""
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
            # Whoever still holds a dropped engine finishes with it; it goes with the last of them.
            while len(self._loaded) > self._keep:
                self._loaded.popitem(last=False)
            return engine

    def release(self, prefix: str) -> bool:
        """Forget a model; who is being answered still is."""
        with self._lock:
            self._loaded.pop(prefix, None)
        return True

    def close(self) -> None:
        """Forget all."""
        with self._lock:
            self._loaded.clear()
