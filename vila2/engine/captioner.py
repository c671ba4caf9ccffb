"""The batched captioner: images and questions in, answers out. One code path for all uses.

Previews, batch captioning and evaluation call the same object, embedded or behind a server. A row's
random draws depend only on its own seed and position, so the same request gives the same caption
whatever else is in the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from vila2.engine.continuous_batch import RunningBatch, VisionInput
from vila2.engine.reference import read_reference
from vila2.engine.requests import Generation, Request, Scoring
from vila2.model.build import VLM
from vila2.model.features import VisionFeatures


class Captioner:
    """A loaded model that answers requests in batches; not safe for concurrent use."""

    def __init__(
        self,
        vlm: VLM,
        *,
        batch_size: int = 64,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
    ) -> None:
        """Move the model to `device`; `dtype` defaults to bfloat16 on a GPU, float32 on a CPU."""
        self.vlm = vlm
        self.batch_size = batch_size
        self.device = torch.device(device)
        if dtype is None:
            dtype = torch.float32 if self.device.type == "cpu" else torch.bfloat16
        self.vlm.model.to(self.device, dtype).eval()
        self.chat = vlm.chat()
        self._features: VisionFeatures | None = None
        # For the consistency score (`reference.py`); `load` reads it if the model includes one.
        self.reference: torch.Tensor | None = None

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        batch_size: int = 64,
        device: str = "cpu",
        threads: int | None = None,
    ) -> Captioner:
        """Load a saved model directory; `threads` limits torch's CPU threads of this process."""
        if threads is not None:
            torch.set_num_threads(threads)
        captioner = cls(VLM.load(directory), batch_size=batch_size, device=device)
        captioner.reference = read_reference(directory, captioner.vlm)
        return captioner

    @property
    def image_size(self) -> int:
        """Side in pixels of the square image that a request must have."""
        return self.vlm.preset.image_size

    def use_features(self, features: VisionFeatures) -> None:
        """Use cached tower output for known images instead of computing it."""
        self._features = features

    def vision(self, requests: Sequence[Request | Scoring]) -> VisionInput:
        """Context manager that yields the tower's input, or the cached features."""
        return VisionInput(self.vlm, self._features, requests, self.device)

    def batch(self) -> RunningBatch:
        """An empty batch of this model."""
        return RunningBatch(self.vlm, self.chat, device=self.device, features=self._features)

    def generate(
        self,
        requests: Sequence[Request],
        *,
        progress: Callable[[int], None] | None = None,
    ) -> list[Generation]:
        """Answer every request, in order. `progress` is called with the number done so far."""
        prompts = [self.chat.prompt(request.question) for request in requests]
        # Prompts of similar length are prefilled together, with little padding.
        waiting = sorted(range(len(requests)), key=lambda i: len(prompts[i]), reverse=True)
        answers: dict[object, Generation] = {}
        running = self.batch()
        while waiting or len(running):
            room = admits(running=len(running), waiting=len(waiting), capacity=self.batch_size)
            if room:
                rows = [waiting.pop() for _ in range(room)]
                running.admit(rows, [requests[i] for i in rows], [prompts[i] for i in rows])
            ended = running.step()
            answers.update(ended)
            if progress and ended:
                progress(len(answers))
        return [answers[i] for i in range(len(requests))]


def admits(*, running: int, waiting: int, capacity: int) -> int:
    """Return how many requests to prefill before the next step. Pure.

    Prefill costs a pass over whole prompts and a copy of the cache, so rows are admitted in
    quarters of a batch, not one by one, unless the batch is empty.
    """
    room = min(waiting, capacity - running)
    return room if running == 0 or room * 4 >= capacity or room == waiting else 0
