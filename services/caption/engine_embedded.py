"""The embedded engine: the library's captioner in this process.

torch is reached through the library only when a model is first used, so that a caption service
that talks to a remote engine never imports it.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from services.caption.captioning import Answer, Ask


class EmbeddedEngine:
    """One loaded model; calls are serialised, since a captioner is not safe for concurrent use."""

    def __init__(self, directory: Path, *, batch_size: int) -> None:
        from vila2.model.captioner import Captioner

        # Half the cores: jobs train beside it, and threads that wait for each other are slower
        # than one.
        threads = max(1, (os.cpu_count() or 1) // 2)
        self._captioner: Any = Captioner.load(directory, batch_size=batch_size, threads=threads)
        self._lock = threading.Lock()
        self.image_size: int = self._captioner.image_size

    def answer(self, asks: Sequence[Ask], *, progress: Callable[[int], None]) -> list[Answer]:
        """Answer all, in order."""
        from vila2.model.captioner import Request, Sampling

        requests = [
            Request(
                pixels=ask.pixels,
                question=ask.question,
                seed=ask.seed,
                sampling=Sampling(
                    temperature=ask.temperature,
                    top_p=ask.top_p,
                    max_new_tokens=ask.max_new_tokens,
                ),
                sha256=ask.sha256,
            )
            for ask in asks
        ]
        with self._lock:
            made = self._captioner.generate(requests, progress=progress)
        return [Answer(g.text, g.tokens, g.logprob, g.finish_reason) for g in made]

    def prompt_tokens(self, question: str) -> int:
        """Tokens of a question with its picture."""
        return len(self._captioner.chat.prompt(question))


class EmbeddedEngines:
    """Loaded models by object prefix, the least recently used dropped beyond `keep`."""

    def __init__(
        self, locate: Callable[[str], Path], *, keep: int = 2, batch_size: int = 128
    ) -> None:
        self._locate, self._keep, self._batch_size = locate, keep, batch_size
        self._loaded: OrderedDict[str, EmbeddedEngine] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, prefix: str) -> EmbeddedEngine:
        """The engine of the model stored there, loaded on first use."""
        with self._lock:
            engine = self._loaded.get(prefix)
            if engine is None:
                engine = EmbeddedEngine(self._locate(prefix), batch_size=self._batch_size)
                self._loaded[prefix] = engine
            self._loaded.move_to_end(prefix)
            while len(self._loaded) > self._keep:
                self._loaded.popitem(last=False)
            return engine
