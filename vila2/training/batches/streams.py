"""A source as a stream: shards are opened when they are visited, with their texts and captions.

Memory holds the texts of a few shards, whatever the size of the dataset.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from vila2.data.assembly import AssemblyCounts, TrainingText, assemble
from vila2.data.layers import decode_layer_shard
from vila2.data.random_access import OpenShard, shard_size
from vila2.data.stored.intact import check_file
from vila2.schemas.train_spec import Source
from vila2.training.batches.caption_filter import Kept
from vila2.training.batches.sampler import Visit

Captions = list[dict[str, str | None]]  # per sample: layer -> caption


@dataclass(frozen=True, slots=True)
class Held:
    """An open shard with the captions of its samples, row by row."""

    shard: OpenShard
    captions: Captions


class SourceStream:
    """Reads a source's samples by (shard, index); shards that hold `keep` samples stay open.

    Raises `ValueError` if a layer's number of shards differs from the source's.
    """

    def __init__(self, spec: Source, cache: Path, *, seed: int) -> None:
        for layer, paths in spec.layers.items():
            if len(paths) != len(spec.shards):
                raise ValueError(
                    f"source {spec.name}: layer {layer!r} has {len(paths)} shards, the dataset "
                    f"{len(spec.shards)}; seal the layer before training on it"
                )
        if spec.sizes and len(spec.sizes) != len(spec.shards):
            raise ValueError(
                f"source {spec.name}: {len(spec.sizes)} sizes for {len(spec.shards)} shards; give "
                "one for each, or none"
            )
        self.spec, self._indexes, self._seed = spec, cache / "indexes", seed
        self.keep = 0  # samples, set once the distance between neighbouring visits is known
        self._open: OrderedDict[int, Held] = OrderedDict()
        self._seen: set[str] = set()
        self._lock = threading.Lock()
        self._kept = {layer: Kept(spec, layer) for layer in spec.layers}

    def sizes(self, report: Callable[[str], None]) -> list[int]:
        """Samples of each shard."""
        if self.spec.sizes:
            return list(self.spec.sizes)
        sizes = []
        for number, shard in enumerate(self.spec.shards):
            report(f"reading {self.spec.name} shard {number + 1}/{len(self.spec.shards)}")
            sizes.append(shard_size(Path(shard), self._indexes))
        return sizes

    def held(self, number: int) -> Held:
        """A shard, opened if necessary; the least recently visited one is closed."""
        with self._lock:
            held = self._open.get(number)
            if held is None:
                shard = self._checked(self.spec.shards[number])
                held = self._open[number] = Held(shard, self._captions(shard, number))
            self._open.move_to_end(number)
            while len(self._open) > 1 and self._samples_open() > self.keep:
                self._open.popitem(last=False)
            return held

    def text(self, visit: Visit, *, seed: int, counts: AssemblyCounts) -> TrainingText:
        """The assembled text of a visit."""
        held = self.held(visit.shard)
        return assemble(
            held.shard.text(visit.row),
            held.captions[visit.row],
            self.spec.assembly,
            seed=seed,
            visit=visit.number,
            counts=counts,
        )

    def _checked(self, path: str) -> OpenShard:
        """A shard whose bytes were read once in this job; its images are checked as they are read.

        Its index may come from a cache, so the tar's bytes are compared first.
        """
        if path not in self._seen:
            self._intact(path)
            self._seen.add(path)
        return OpenShard(Path(path), self._indexes, self.spec.stored.get(path))

    def _intact(self, path: str) -> Path:
        if path in self.spec.stored:
            check_file(Path(path), self.spec.stored[path])
        return Path(path)

    def _samples_open(self) -> int:
        return sum(len(held.shard) for held in self._open.values())

    def _captions(self, shard: OpenShard, number: int) -> Captions:
        rows = {
            layer: {
                row.key: self._kept[layer].caption(row)
                for row in decode_layer_shard(self._intact(paths[number]))
            }
            for layer, paths in self.spec.layers.items()
        }
        made: Captions = [
            {layer: by_key.get(about.key) for layer, by_key in rows.items()} for about in shard.rows
        ]
        if self.spec.shuffle_captions:
            made = _given_to_others(made, self.spec.name, seed=self._seed + number)
        return made


def _given_to_others(captions: Captions, source: str, *, seed: int) -> Captions:
    """Rotate a seeded permutation of a shard, so that no sample keeps its own caption."""
    if len(captions) == 1:
        raise ValueError(
            f"source {source}: shuffle_captions needs more than one sample in every shard"
        )
    order = list(range(len(captions)))
    random.Random(seed).shuffle(order)
    moved: Captions = [{}] * len(captions)
    for position, index in enumerate(order):
        moved[index] = captions[order[(position + 1) % len(order)]]
    return moved
