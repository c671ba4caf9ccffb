"""Cached output of a frozen vision tower, so that each image passes through it once.

A run trains on the same images many times, and the output of a frozen tower does not change.
Features are stored per shard as float16 `.npy` files, named by the digests of tower and shard, and
are memory-mapped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from vila2.model.build import VLM
from vila2.schemas.canonical import canonical_json
from vila2.system.files import file_atomically


def tower_digest(vlm: VLM) -> str:
    """sha256 over the vision tower's weights and the image's normalisation (16 hex digits).

    Raises `ValueError` for an external model: it may use layers of its tower other than the last,
    so the cached output cannot replace the images.
    """
    if vlm.foreign is not None:
        raise ValueError(
            f"{vlm.preset.name}: features of a model that is not composed here cannot be cached; "
            "set training.cache_features to false"
        )
    digest = hashlib.sha256()
    preset = vlm.preset
    digest.update(canonical_json([preset.image_size, preset.image_mean, preset.image_std]))
    for name, tensor in sorted(vlm.part("vision").state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


class FeatureTower(nn.Module):
    """Replaces the vision tower and returns its input, cached features, as the output."""

    def forward(self, pixel_values: torch.Tensor, **_: Any) -> Any:
        """Return the features (B, tokens, hidden) as the tower's last hidden state."""
        from transformers.modeling_outputs import BaseModelOutput

        return BaseModelOutput(last_hidden_state=pixel_values, hidden_states=(pixel_values,))


class Bypass:
    """A model whose tower is replaced by `FeatureTower` until `restore`."""

    def __init__(self, vlm: VLM) -> None:
        self._inner = vlm.model.model
        self._tower = self._inner.vision_tower
        self._inner.vision_tower = FeatureTower()

    def restore(self) -> None:
        """Restore the real tower."""
        self._inner.vision_tower = self._tower


class VisionFeatures:
    """Features of many images, looked up by the image's sha256."""

    def __init__(self) -> None:
        self._rows: dict[str, tuple[np.ndarray, int]] = {}

    def add(self, digests: Sequence[str], array: np.ndarray) -> None:
        """Register rows of `array` (images, tokens, hidden) under their images' digests."""
        for row, digest in enumerate(digests):
            self._rows[digest] = (array, row)

    def has(self, digests: Sequence[str]) -> bool:
        """Whether every one of these images is cached."""
        return bool(self._rows) and all(digest in self._rows for digest in digests)

    def take(self, digests: Sequence[str]) -> torch.Tensor:
        """Features (B, tokens, hidden) as float32."""
        rows = [self._rows[digest] for digest in digests]
        return torch.from_numpy(np.stack([array[row] for array, row in rows]).astype(np.float32))

    def bypass(self, vlm: VLM) -> Bypass:
        """Make `vlm` accept these features in place of pixels."""
        return Bypass(vlm)


@torch.inference_mode()
def compute_features(vlm: VLM, pixels: np.ndarray, *, batch_size: int = 32) -> np.ndarray:
    """Tower output (N, tokens, hidden) float16 of uint8 images (N, H, W, 3)."""
    tower = vlm.part("vision").eval()
    made = []
    for start in range(0, len(pixels), batch_size):
        batch = vlm.normalise(torch.from_numpy(pixels[start : start + batch_size]))
        seen = tower(pixel_values=batch, output_hidden_states=True).hidden_states[-1]
        made.append(seen.half().numpy())
    return np.concatenate(made)


def cached_features(
    vlm: VLM,
    pixels: Callable[[], np.ndarray],
    *,
    folder: Path,
    shard_sha256: str,
    digest: str,
) -> np.ndarray:
    """`compute_features`, stored under `folder` and memory-mapped if it exists already."""
    path = folder / f"{digest}-{shard_sha256[:16]}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with file_atomically(path) as partial, partial.open("wb") as out:
            np.save(out, compute_features(vlm, pixels()))
    loaded: np.ndarray = np.load(path, mmap_mode="r")
    return loaded
