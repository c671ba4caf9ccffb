"""Images for training: decoded on demand and kept while there is room, or a tower's output."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from vila2.data.errors import DataError
from vila2.data.images.decoding import ImageRejected, decode
from vila2.data.random_access import OpenShard
from vila2.model.build import VLM
from vila2.model.features import Bypass, VisionFeatures, cached_features, tower_digest


def decoded(image: bytes, *, key: str, size: int) -> np.ndarray:
    """Decode to uint8 (size, size, 3); raises `DataError` if the image cannot be decoded."""
    try:
        return decode(image, size=(size, size))
    except ImageRejected as error:
        raise DataError(
            f"sample {key}: {error.detail}",
            field=key,
            fix="Submit the data again without --structure-only, which leaves such images out",
        ) from error


class DecodedImages:
    """Decoded images by digest, the least recently used dropped beyond `memory` MiB."""

    def __init__(self, *, size: int, memory: int) -> None:
        self._size = size
        self._room = memory * 2**20 // (size * size * 3)
        self._held: OrderedDict[str, np.ndarray] = OrderedDict()
        self._lock = threading.Lock()

    def held(self, shard: OpenShard, row: int) -> np.ndarray | None:
        """uint8 (size, size, 3) if the image is cached, else `None`."""
        digest = shard.rows[row].sha256
        with self._lock:
            if digest in self._held:
                self._held.move_to_end(digest)
            return self._held.get(digest)

    def get(self, shard: OpenShard, row: int) -> np.ndarray:
        """uint8 (size, size, 3)."""
        held = self.held(shard, row)
        if held is not None:
            return held
        about = shard.rows[row]
        made = decoded(shard.image(row), key=about.key, size=self._size)
        with self._lock:
            self._held[about.sha256] = made
            while len(self._held) > self._room:
                self._held.popitem(last=False)
        return made


class FrozenFeatures:
    """The tower's output of whole shards, in files that jobs share; made before training begins."""

    def __init__(self, vlm: VLM, folder: Path) -> None:
        self._vlm, self._folder = vlm, folder
        self._digest = tower_digest(vlm)
        self._features = VisionFeatures()

    def prepare(self, path: Path, shard: OpenShard) -> None:
        """Compute a shard's features, or memory-map the file that holds them."""
        size = self._vlm.preset.image_size

        def pixels() -> np.ndarray:
            return np.stack([
                decoded(shard.image(row), key=about.key, size=size)
                for row, about in enumerate(shard.rows)
            ])  # fmt: skip

        array = cached_features(
            self._vlm, pixels, folder=self._folder,
            shard_sha256=path.stem.split("-")[-1], digest=self._digest,
        )  # fmt: skip
        self._features.add([about.sha256 for about in shard.rows], array)

    def take(self, digests: Sequence[str]) -> torch.Tensor:
        """Features (B, tokens, hidden) float32."""
        return self._features.take(digests)

    def bypass(self) -> Bypass:
        """Make the model take features in place of pixels, until `restore`."""
        return self._features.bypass(self._vlm)
