"""Training throughput: tokens per second, MFU, and the share of time spent waiting for data."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from vila2.model.build import VLM
from vila2.training.objective import MicroBatch


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """Floating-point operations of one forward pass, by what they grow with.

    Counted as in `vila2.model.memory`, for the lengths that are really there: two for each weight
    and token, and 4 x layers x width for each pair of positions that attention may join.
    """

    language_token: float
    language_pair: float
    head_token: float
    projector_image: float
    vision_image: float
    learns: frozenset[str]

    @classmethod
    def of(cls, vlm: VLM, trainable: Iterable[str], *, features: bool) -> Arithmetic:
        """For the parts that learn; with cached features the tower does nothing."""
        text = vlm.model.config.get_text_config()
        vision = vlm.model.config.vision_config
        inner = sum(p.numel() for n, p in vlm.part("language").named_parameters() if p.ndim == 2
                    and "embed" not in n)  # fmt: skip
        tower = sum(p.numel() for p in vlm.part("vision").parameters() if p.ndim >= 2)
        projector = sum(p.numel() for p in vlm.part("projector").parameters() if p.ndim == 2)
        patches = _patches(vlm, vision)
        depth, width = getattr(vision, "num_hidden_layers", 0), getattr(vision, "hidden_size", 0)
        return cls(
            language_token=2.0 * inner,
            language_pair=4.0 * text.num_hidden_layers * text.hidden_size,
            head_token=2.0 * text.vocab_size * text.hidden_size,
            projector_image=2.0 * projector * vlm.image_tokens,
            vision_image=0.0
            if features
            else 2.0 * tower * patches + 4.0 * depth * width * patches**2,
            learns=frozenset(trainable),
        )

    def of_pass(self, batch: MicroBatch) -> float:
        """Operations of one forward and backward pass; recomputed activations do not count.

        A part that learns costs three times its forward pass, one that only passes gradients on
        twice, one below everything that learns once.
        """
        images = len(batch.images)
        language = self.language_token * batch.tokens
        language += self.language_pair * sum(n * n for n in batch.lengths)
        language += self.head_token * batch.loss_tokens
        vision = self.vision_image * images * (3 if "vision" in self.learns else 1)
        below = bool(self.learns & {"vision", "projector"})
        projector = self.projector_image * images
        projector *= 1 + ("projector" in self.learns) + below
        return vision + projector + language * (1 + below + ("language" in self.learns))


def _patches(vlm: VLM, vision: Any) -> int:
    """Positions of the tower for one image, before they are joined."""
    return vlm.image_tokens * vlm.preset.downsample_factor**2


def achievable(device: torch.device, *, half: bool) -> float:
    """FLOP/s of one large matrix product on this device: the denominator of MFU."""
    size = 8192 if device.type == "cuda" else 1024
    dtype = torch.bfloat16 if half else torch.float32
    left = torch.randn(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(4):
        _finish(device)
        began = time.perf_counter()
        left @ left
        _finish(device)
        best = max(best, 2.0 * size**3 / (time.perf_counter() - began))
    return best


def _finish(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Meter:
    """Sums up one process's share of a stage; rates are of all processes, as if all were alike."""

    def __init__(self, arithmetic: Arithmetic, *, limit: float, processes: int) -> None:
        self._arithmetic, self._limit, self._processes = arithmetic, limit, processes
        self._began = time.perf_counter()
        self._tokens = self._operations = self._idle = 0.0

    def waited(self, seconds: float) -> None:
        """Add time (seconds) that a step waited for its data."""
        self._idle += seconds

    def passed(self, micro: Sequence[MicroBatch]) -> None:
        """Count the finished passes of a step."""
        self._tokens += sum(batch.tokens for batch in micro)
        self._operations += sum(self._arithmetic.of_pass(batch) for batch in micro)

    def rates(self) -> dict[str, float]:
        """Tokens a second of all processes, MFU, and the share of time that data was waited for."""
        seconds = max(1e-9, time.perf_counter() - self._began)
        return {
            "tokens_per_second": self._processes * self._tokens / seconds,
            "mfu": self._operations / seconds / self._limit,
            "idle": self._idle / seconds,
        }
