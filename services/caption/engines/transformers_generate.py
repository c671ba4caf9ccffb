"""The universal engine: any model that transformers loads, in this process.

torch is imported when a model is first used.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from services.caption.engines.embedded import compute_versions
from services.caption.engines.engine import Abilities, CannotScore, EngineInfo, ModelRefused
from services.caption.engines.model_cache import ModelCache
from services.caption.engines.streams import pieces_of_growing
from vila2.engine.requests import Generation, ImageInput, Request, Scoring

NO_SCORES = (
    "transformers' engine cannot score captions yet: only models that were trained here, served by "
    "the embedded engine or by Triton, can"
)
_MOST_IMAGES = 16


class TransformersEngine:
    """One loaded model."""

    def __init__(self, directory: Path, *, batch_size: int) -> None:
        try:
            from vila2.engine.transformers_captioner import TransformersCaptioner
        except ImportError as error:
            raise ModelRefused(
                f"this process cannot run {directory.name}: {error.name} is not installed where "
                "captions are made (pip install 'vila2[train]'); or serve the model by an "
                "OpenAI-compatible endpoint, and add that"
            ) from error
        from vila2.model.processor_parts import ProcessorError
        from vila2.model.weight_files import CheckpointError

        try:
            self._captioner = TransformersCaptioner(directory, batch_size=batch_size)
        except (CheckpointError, ProcessorError) as error:
            # Users know the model by its name, not by the path of its files.
            raise ModelRefused(str(error).replace(str(directory), directory.name)) from error
        # Small, because images are large in memory at their own size, and each chunk is stored when
        # done.
        self.image_input = ImageInput(chunk=4 * batch_size)

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        """Generate all answers, in order."""
        return self._captioner.generate(requests, progress=progress)

    def stream(self, request: Request) -> Iterator[str | Generation]:
        """Yield pieces of text as they are generated, then the answer."""
        events: queue.Queue[Any] = queue.Queue()
        gone = threading.Event()

        def said(text: str) -> bool:
            events.put(text)
            return not gone.is_set()

        def work() -> None:
            try:
                events.put(self._captioner.generate([request], on_text=said)[0])
            except Exception as error:
                events.put(error)

        threading.Thread(target=work, name="stream", daemon=True).start()
        try:
            yield from pieces_of_growing(events)
        finally:
            gone.set()

    def score(self, requests: Sequence[Scoring]) -> list[float]:
        """Raises `CannotScore`."""
        raise CannotScore(NO_SCORES)


class TransformersEngines:
    """Models as `save_pretrained` wrote them; `locate` finds a model's folder."""

    def __init__(
        self, locate: Callable[[str], Path], *, keep: int = 1, batch_size: int = 16
    ) -> None:
        self._cache = ModelCache(
            lambda prefix: TransformersEngine(locate(prefix), batch_size=batch_size), keep=keep
        )

    def info(self, prefix: str) -> EngineInfo:
        """The libraries' versions, read without importing them.

        Without torchvision, PIL prepares the images, and its pixels differ slightly.
        """
        try:
            images = f"torchvision {metadata.version('torchvision')}"
        except metadata.PackageNotFoundError:
            images = f"pillow {metadata.version('pillow')}"
        return EngineInfo("transformers", f"{compute_versions()}, {images}")

    def abilities(self, prefix: str) -> Abilities:
        """What a model supports; several images and system messages depend on its template."""
        return Abilities(no_scores=NO_SCORES, most_images=_MOST_IMAGES)

    def get(self, prefix: str) -> TransformersEngine:
        """The model's engine, loaded on first use; raises `ModelRefused`."""
        return self._cache.get(prefix)

    def release(self, prefix: str) -> bool:
        """Drop a model from memory; requests in progress finish."""
        return self._cache.release(prefix)

    def close(self) -> None:
        """Drop all models."""
        self._cache.close()
