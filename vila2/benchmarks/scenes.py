"""The image world's test split: its truth is exact, and new images can be drawn at will."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path

from vila2.benchmarks.source import Source, Where
from vila2.data.readers.benchmark import TABLE
from vila2.scenes.datasets import WorldSizes, write_split

_SEED = 0


def _prepare(folder: Path, where: Where) -> None:
    write_split(folder, "test", sizes=WorldSizes(), seed=_SEED)
    if where.limit:
        table = folder / TABLE
        with table.open() as lines:
            kept = [json.loads(line) for line in islice(lines, where.limit)]
        table.write_text("".join(json.dumps(row) + "\n" for row in kept))


SOURCE = Source(
    name="scenes",
    about="drawn scenes: captions, questions, positions, numbers and boxes, with exact truth",
    metric="object_f1, exact and iou50",
    items="300 images, 2,780 questions in 5 benchmarks",
    licence="Apache-2.0",
    citation="this project; the split that `vila2 demo` calls scenes-test with seed 0",
    needs="",
    prepare=_prepare,
)
