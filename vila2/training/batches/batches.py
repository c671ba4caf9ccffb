"""The steps of a stage as tensors: each process's samples, their texts, and their rows.

Padded: the samples of a block of steps are sorted by length into steps, so that little is padding.
Packed: the samples of a step are joined into rows. With a token budget a step takes as many samples
as fit, so the number of visits before a step is part of a checkpoint.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vila2.data.assembly import AssemblyCounts
from vila2.model.build import VLM
from vila2.model.chat import Encoded
from vila2.schemas.train_spec import Stage, TrainSpec
from vila2.training.batches.images import DecodedImages, FrozenFeatures
from vila2.training.batches.packing import packed_rows, within_budget
from vila2.training.batches.sampler import BLOCK, CHUNK, Order, Visit, batches_of_block
from vila2.training.batches.streams import SourceStream
from vila2.training.objective import MicroBatch

# Steps prefetched while one is computed.
_AHEAD = 2


@dataclass(frozen=True, slots=True)
class StepData:
    """One process's share of a step, and the number of visits after it."""

    micro: list[MicroBatch]
    visits: int
    counts: StepCounts


@dataclass(slots=True)
class StepCounts:
    """Counts over the step's samples, summed over all processes."""

    samples: int = 0
    truncated: int = 0
    without_loss: int = 0
    missing: Counter[str] = field(default_factory=Counter)

    def add(self, other: StepCounts) -> None:
        """Add another step's counts, in place."""
        self.samples += other.samples
        self.truncated += other.truncated
        self.without_loss += other.without_loss
        self.missing.update(other.missing)

    def as_dict(self) -> dict[str, Any]:
        """The fields as JSON; pass them to the constructor to restore the counts."""
        return {
            "samples": self.samples,
            "truncated": self.truncated,
            "without_loss": self.without_loss,
            "missing": dict(self.missing),
        }


@dataclass(frozen=True, slots=True)
class _Row:
    """Samples of one forward pass, before their images are read."""

    visits: list[Visit]
    texts: list[Encoded]


class StageData:
    """The steps of one stage for process `rank` of `world`."""

    def __init__(
        self,
        spec: TrainSpec,
        stage: Stage,
        vlm: VLM,
        *,
        seed: int,
        rank: int,
        world: int,
        report: Callable[[str], None],
    ) -> None:
        if not stage.batch_tokens and stage.batch_size % world:
            raise ValueError(
                f"stage {stage.name}: batch_size {stage.batch_size} must divide by the "
                f"{world} processes"
            )
        self._stage, self._vlm, self._chat = stage, vlm, vlm.chat()
        self._seed, self._rank, self._world = seed, rank, world
        cache = Path(spec.cache)
        self._sources = [SourceStream(source, cache, seed=seed) for source in stage.sources]
        sizes = [source.sizes(report) for source in self._sources]
        for source, shards in zip(self._sources, sizes, strict=True):
            # Room for the current shuffle window and for the next.
            source.keep = 2 * max(CHUNK, spec.window * max(shards))
        self._order = Order(
            sizes,
            [source.spec.repeat for source in self._sources],
            seed=seed,
            window=spec.window,
        )
        self._images = DecodedImages(size=vlm.preset.image_size, memory=spec.image_memory)
        self.features = FrozenFeatures(vlm, cache / "features") if spec.cache_features else None
        self._loaders = ThreadPoolExecutor(spec.loaders, thread_name_prefix="images")
        if self.features is not None:
            self._prepare(self.features, report)

    def close(self) -> None:
        """Stop the threads."""
        self._loaders.shutdown(cancel_futures=True)

    def steps(self, first: int, visits: int) -> Generator[StepData]:
        """Steps `first` .. `stage.steps`, of which the first begins after `visits` visits.

        The next steps are prepared in a thread while the current one is computed.
        """
        planned = self._planned(first, visits)
        with ThreadPoolExecutor(1, thread_name_prefix="steps") as maker:
            ahead: list[Future[StepData | None]] = []

            def one() -> StepData | None:
                return next(planned, None)

            try:
                while True:
                    while len(ahead) < _AHEAD:
                        ahead.append(maker.submit(one))
                    made = ahead.pop(0).result()
                    if made is None:
                        return
                    yield made
            finally:
                for future in ahead:
                    future.cancel()

    def _planned(self, first: int, visits: int) -> Iterator[StepData]:
        if not self._stage.pack:
            yield from self._padded(first)
            return
        for _ in range(first, self._stage.steps):
            if self._stage.batch_tokens:
                taken, texts, counts = self._budgeted(visits)
            else:
                taken = self._order.visits(visits, self._stage.batch_size)
                texts, counts = self._encode(taken)
            visits += len(taken)
            lengths = [len(text.ids) for text in texts]
            rows = packed_rows(lengths, capacity=self._stage.pack, multiple=self._world)
            mine = [
                _Row([taken[i] for i in row], [texts[i] for i in row])
                for row in rows[self._rank :: self._world]
            ]
            yield StepData([self._joined(row) for row in mine], visits, counts)

    def _budgeted(self, start: int) -> tuple[list[Visit], list[Encoded], StepCounts]:
        """Visits from `start` on whose tokens make up the step's budget."""
        budget, asked = self._stage.batch_tokens, 64
        while True:
            visits = self._order.visits(start, asked)
            texts, _ = self._encode(visits)
            fit = within_budget([len(text.ids) for text in texts], budget=budget)
            if fit < asked:
                break
            asked *= 2
        # Encoded again to count only these samples; texts are cached by the chat format.
        texts, counts = self._encode(visits[:fit])
        return visits[:fit], texts, counts

    def _padded(self, first: int) -> Iterator[StepData]:
        size, steps = self._stage.batch_size, self._stage.steps
        for block in range(first // BLOCK, -(-steps // BLOCK)):
            count = min(BLOCK, steps - block * BLOCK)
            visits = self._order.visits(block * BLOCK * size, count * size)
            texts, counts = self._encode(visits)
            batches = batches_of_block(
                [len(text.ids) for text in texts], batch_size=size, seed=self._seed, block=block
            )
            for offset, rows in enumerate(batches):
                step = block * BLOCK + offset
                if step < first:
                    continue
                mine = rows[self._rank :: self._world]
                at_once = self._stage.micro_batch or len(mine)
                parts = [mine[i : i + at_once] for i in range(0, len(mine), at_once)]
                micro = [
                    self._beside(_Row([visits[i] for i in part], [texts[i] for i in part]))
                    for part in parts
                ]
                told = counts if offset == 0 else StepCounts()  # a block's counts are reported once
                yield StepData(micro, (step + 1) * size, told)

    def _encode(self, visits: Sequence[Visit]) -> tuple[list[Encoded], StepCounts]:
        counts, texts = AssemblyCounts(), []
        for visit in visits:
            text = self._sources[visit.source].text(visit, seed=self._seed, counts=counts)
            texts.append(self._chat.encode(text, max_length=self._vlm.preset.max_length))
        truncated = sum(text.truncated for text in texts)
        without_loss = sum(not any(text.loss) for text in texts)
        return texts, StepCounts(counts.samples, truncated, without_loss, counts.missing)

    def _beside(self, row: _Row) -> MicroBatch:
        """One sample per row, padded on the right."""
        lengths = tuple(len(text.ids) for text in row.texts)
        shape = (len(lengths), max(lengths))
        ids, labels = np.full(shape, self._chat.pad_id), np.full(shape, -100)
        attention = np.zeros(shape, dtype=np.int64)
        for n, text in enumerate(row.texts):
            ids[n, : lengths[n]] = text.ids
            attention[n, : lengths[n]] = 1
            labels[n, : lengths[n]] = _labels(text)
        return MicroBatch(
            torch.from_numpy(ids), torch.from_numpy(labels), torch.from_numpy(attention), lengths,
            self._read(row.visits),
        )  # fmt: skip

    def _joined(self, row: _Row) -> MicroBatch:
        """All samples concatenated in one row."""
        ids = np.concatenate([text.ids for text in row.texts])
        labels = np.concatenate([_labels(text) for text in row.texts])
        return MicroBatch(
            torch.from_numpy(ids)[None], torch.from_numpy(labels)[None], None,
            tuple(len(text.ids) for text in row.texts), self._read(row.visits),
        )  # fmt: skip

    def _read(self, visits: Sequence[Visit]) -> torch.Tensor:
        held = [(self._sources[visit.source].held(visit.shard), visit.row) for visit in visits]
        if self.features is not None:
            return self.features.take([where.shard.rows[row].sha256 for where, row in held])
        read = [self._images.held(where.shard, row) for where, row in held]
        # A thread pays off only for images that must be decoded.
        missing = [n for n, pixels in enumerate(read) if pixels is None]
        made = self._loaders.map(lambda n: self._images.get(held[n][0].shard, held[n][1]), missing)
        for n, pixels in zip(missing, made, strict=True):
            read[n] = pixels
        return torch.from_numpy(np.stack([pixels for pixels in read if pixels is not None]))

    def _prepare(self, features: FrozenFeatures, report: Callable[[str], None]) -> None:
        for source in self._sources:
            for number, shard in enumerate(source.spec.shards):
                report(
                    f"features of {source.spec.name} shard {number + 1}/{len(source.spec.shards)}"
                )
                features.prepare(Path(shard), source.held(number).shard)


def _labels(text: Encoded) -> np.ndarray:
    """Token ids as labels, -100 where no loss counts; a sample's first token has none."""
    labels = np.where(text.loss, text.ids, -100)
    labels[0] = -100
    return labels
