"""Models whose random weights give different answers to different images."""

from __future__ import annotations

import numpy as np
import torch

from vila2.model.build import VLM, compose
from vila2.model.preset import Preset

QUESTION = "What is in the image?"
_WORDS = ["a large red circle and a small blue square on a white background"] * 50


def spread(preset: Preset) -> VLM:
    """A composed model with weights far from zero: no two tokens are equally likely."""
    vlm = compose(preset, texts=_WORDS, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in vlm.model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.15, generator=generator)
    return vlm


def blocks(count: int, side: int) -> list[np.ndarray]:
    """Images of random blocks, uint8 (side, side, 3)."""
    generator, wide = np.random.default_rng(0), -(-side // 4)
    return [
        np.kron(
            generator.integers(0, 256, (4, 4, 3), dtype=np.uint8),
            np.ones((wide, wide, 1), np.uint8),
        )[:side, :side]
        for _ in range(count)
    ]
