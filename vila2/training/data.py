"""From a spec's sources to tensors: pictures, features, captions and text for each step."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from vila2.data.assembly import AssemblyCounts, assemble
from vila2.data.errors import DataError
from vila2.data.images import ImageRejected, decode
from vila2.data.layers import CAPTIONED, CaptionRow, decode_layer_shard
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.model.build import VLM
from vila2.model.chat import Encoded
from vila2.model.features import VisionFeatures, cached_features, tower_digest
from vila2.training.sampler import BLOCK, Order, batches_of_block
from vila2.training.spec import KeepBy, Source, Stage

Captions = dict[str, dict[str, str | None]]  # layer -> key -> caption


@dataclass
class LoadedSource:
    """A source in memory: text and digests as objects, pictures as one uint8 array."""

    spec: Source
    samples: list[Sample]
    pixels: np.ndarray | None  # (N, H, W, 3) uint8; None where features stand in
    captions: list[dict[str, str | None]]


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's tensors. `ids`, `labels`, `attention`: (B, T); labels are -100 without loss."""

    ids: torch.Tensor
    labels: torch.Tensor
    attention: torch.Tensor
    pixel_values: torch.Tensor

    @property
    def tokens(self) -> int:
        """Tokens that are not padding."""
        return int(self.attention.sum())


def _decoded(sample: Sample, size: int) -> np.ndarray:
    try:
        return decode(sample.image, size=(size, size))
    except ImageRejected as error:
        raise DataError(
            f"sample {sample.key}: {error.detail}",
            field=sample.key,
            fix="Submit the data again without --structure-only, which leaves such pictures out",
        ) from error


class PictureCache:
    """Decoded pictures, or the frozen tower's features of them, kept in files per shard."""

    def __init__(self, vlm: VLM, folder: Path, *, features: bool) -> None:
        self._vlm = vlm
        self._folder = folder
        self.features = VisionFeatures() if features else None
        self._digest = tower_digest(vlm) if features else ""

    def load(self, samples: Sequence[Sample], shard: Path) -> np.ndarray | None:
        """Pictures of one shard as (N, H, W, 3) uint8, or `None` once their features are held."""
        size = self._vlm.preset.image_size
        shard_digest = shard.stem.split("-")[-1]

        def pixels() -> np.ndarray:
            return np.stack([_decoded(sample, size) for sample in samples])

        if self.features is None:
            return pixels()
        path = self._folder / "features"
        name = f"{self._digest}-{shard_digest[:16]}.npy"
        array = (
            np.load(path / name, mmap_mode="r")
            if (path / name).exists()
            else cached_features(
                self._vlm, pixels(), folder=path, shard_sha256=shard_digest, digest=self._digest
            )
        )
        self.features.add([sample.sha256 for sample in samples], array)
        return None


def load_source(
    spec: Source, pictures: PictureCache, *, seed: int, report: Callable[[str], None] | None = None
) -> LoadedSource:
    """Read a source's shards and layers into memory.

    Raises `ValueError` where a layer has another number of shards than the source, or names a
    sample that the shard does not hold.
    """
    for layer, paths in spec.layers.items():
        if len(paths) != len(spec.shards):
            raise ValueError(
                f"source {spec.name}: layer {layer!r} has {len(paths)} shards, the dataset "
                f"{len(spec.shards)}; seal the layer before training on it"
            )
    samples: list[Sample] = []
    captions: list[dict[str, str | None]] = []
    arrays: list[np.ndarray] = []
    rows_of = {layer: _kept_rows(spec, layer) for layer in spec.layers}
    for number, shard in enumerate(spec.shards):
        if report:
            report(f"reading {spec.name} shard {number + 1}/{len(spec.shards)}")
        held = [replace(sample) for sample in read_shard(Path(shard))]
        array = pictures.load(held, Path(shard))
        if array is not None:
            arrays.append(array)
        for sample in held:
            captions.append(
                {layer: rows[number].get(sample.key) for layer, rows in rows_of.items()}
            )
        # The encoded picture is not needed again once it is decoded or its features are held.
        samples += [replace(sample, image=b"") for sample in held]
    if spec.shuffle_captions:
        captions = _given_to_others(captions, seed=seed)
    return LoadedSource(spec, samples, np.concatenate(arrays) if arrays else None, captions)


def _kept_rows(spec: Source, layer: str) -> list[dict[str, str | None]]:
    """Captions of a layer by shard and key; those below the kept share count as missing."""
    shards = [decode_layer_shard(Path(path)) for path in spec.layers[layer]]
    share, by = spec.keep_fraction.get(layer, 1.0), spec.keep_by.get(layer, "logprob")
    threshold = -np.inf
    if share < 1.0:
        accepted = sorted(
            _worth(row, by, layer) for rows in shards for row in rows if row.status == CAPTIONED
        )
        if accepted:
            threshold = accepted[min(int(len(accepted) * (1 - share)), len(accepted) - 1)]

    def kept(row: CaptionRow) -> str | None:
        if row.status != CAPTIONED:
            return None
        return row.caption if share >= 1.0 or _worth(row, by, layer) >= threshold else None

    return [{row.key: kept(row) for row in rows} for rows in shards]


def _worth(row: CaptionRow, by: KeepBy, layer: str) -> float:
    """What captions are kept by, most first; raises `DataError` for one that was not scored."""
    if by == "logprob":
        return row.logprob
    if row.consistency is None:
        raise DataError(
            f"layer {layer!r} has captions without a consistency score, such as {row.key}'s",
            field="keep_by",
            fix="Caption the layer with `score: true`, or keep by logprob",
        )
    return row.consistency


def _given_to_others(
    captions: list[dict[str, str | None]], *, seed: int
) -> list[dict[str, str | None]]:
    """Rotate a seeded permutation, so that nobody keeps their own caption."""
    order = list(range(len(captions)))
    random.Random(seed).shuffle(order)
    moved: list[dict[str, str | None]] = [{}] * len(captions)
    for position, index in enumerate(order):
        moved[index] = captions[order[(position + 1) % len(order)]]
    return moved


class StageData:
    """The batches of one stage, for one process of `world`."""

    def __init__(
        self,
        stage: Stage,
        sources: Sequence[LoadedSource],
        vlm: VLM,
        pictures: PictureCache,
        *,
        seed: int,
        rank: int,
        world: int,
    ) -> None:
        if stage.batch_size % world:
            raise ValueError(
                f"stage {stage.name}: batch_size {stage.batch_size} must divide by the "
                f"{world} processes"
            )
        self._stage = stage
        self._sources = sources
        self._vlm = vlm
        self._pictures = pictures
        self._chat = vlm.chat()
        self._seed = seed
        self._rank, self._world = rank, world
        self._order = Order(
            [len(source.samples) for source in sources],
            [source.spec.repeat for source in sources],
            seed=seed,
        )
        self.counts = AssemblyCounts()
        self.truncated = 0

    def batches(self, first_step: int) -> Iterator[Batch]:
        """Batches for steps `first_step` .. `stage.steps`."""
        size, steps = self._stage.batch_size, self._stage.steps
        for block in range(first_step // BLOCK, -(-steps // BLOCK)):
            count = min(BLOCK, steps - block * BLOCK)
            visits = self._order.visits(block * BLOCK * size, count * size)
            encoded = [self._encode(v.source, v.index, v.number) for v in visits]
            batches = batches_of_block(
                [len(e.ids) for e in encoded], batch_size=size, seed=self._seed, block=block
            )
            for offset, rows in enumerate(batches):
                if block * BLOCK + offset < first_step:
                    continue
                mine = rows[self._rank :: self._world]
                yield self._collate(
                    [encoded[i] for i in mine],
                    [(visits[i].source, visits[i].index) for i in mine],
                )

    def _encode(self, source: int, index: int, number: int) -> Encoded:
        held = self._sources[source]
        text = assemble(
            held.samples[index],
            held.captions[index],
            held.spec.assembly,
            seed=self._seed,
            visit=number,
            counts=self.counts,
        )
        encoded = self._chat.encode(text, max_length=self._vlm.preset.max_length)
        self.truncated += encoded.truncated
        return encoded

    def _collate(self, encoded: Sequence[Encoded], where: Sequence[tuple[int, int]]) -> Batch:
        longest = max(len(e.ids) for e in encoded)
        ids = np.full((len(encoded), longest), self._chat.pad_id)
        labels = np.full((len(encoded), longest), -100)
        attention = np.zeros((len(encoded), longest), dtype=np.int64)
        for row, item in enumerate(encoded):
            length = len(item.ids)
            ids[row, :length] = item.ids
            attention[row, :length] = 1
            labels[row, :length] = np.where(item.loss, item.ids, -100)
        return Batch(
            torch.from_numpy(ids),
            torch.from_numpy(labels),
            torch.from_numpy(attention),
            self._vision(where),
        )

    def _vision(self, where: Sequence[tuple[int, int]]) -> torch.Tensor:
        if self._pictures.features is not None:
            digests = [self._sources[s].samples[i].sha256 for s, i in where]
            return self._pictures.features.take(digests)
        rows = []
        for source, index in where:
            pixels = self._sources[source].pixels
            assert pixels is not None  # only features leave a source without pixels
            rows.append(pixels[index])
        return self._vlm.normalise(torch.from_numpy(np.stack(rows)))
