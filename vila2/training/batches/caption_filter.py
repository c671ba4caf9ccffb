"""Which captions of a layer are trained on: a share, the best first, over all its shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from vila2.data.errors import DataError
from vila2.data.layers import CAPTIONED, CaptionRow
from vila2.schemas.train_spec import Source


class Kept:
    """A source's choice among the captions of one layer; of its shards two columns are read.

    Raises `DataError` if captions are selected by a score that the layer does not have.
    """

    def __init__(self, spec: Source, layer: str) -> None:
        self._by = spec.keep_by.get(layer, "logprob")
        self._threshold = -np.inf
        share = spec.keep_fraction.get(layer, 1.0)
        if share >= 1.0:
            return
        accepted = np.sort(
            np.concatenate([self._scores(Path(path), layer) for path in spec.layers[layer]])
        )
        if len(accepted):
            last = len(accepted) - 1
            self._threshold = float(accepted[min(int(len(accepted) * (1 - share)), last)])

    def caption(self, row: CaptionRow) -> str | None:
        """The caption, if there is one and it is good enough."""
        if row.status != CAPTIONED:
            return None
        if self._threshold == -np.inf:
            return row.caption
        worth = row.logprob if self._by == "logprob" else row.consistency
        return row.caption if worth is not None and worth >= self._threshold else None

    def _scores(self, path: Path, layer: str) -> np.ndarray:
        """Scores of a shard's accepted captions."""
        with pq.ParquetFile(path) as opened:
            if self._by not in opened.schema_arrow.names:
                raise _unscored(layer, path, self._by)
            table = opened.read(["status", self._by]).to_pydict()
        scores = [
            score
            for status, score in zip(table["status"], table[self._by], strict=True)
            if status == CAPTIONED
        ]
        if None in scores:
            raise _unscored(layer, path, self._by)
        return np.asarray(scores, dtype=np.float64)


def _unscored(layer: str, path: Path, by: str) -> DataError:
    scored = by == "consistency"
    return DataError(
        f"layer {layer!r} has captions without a {'consistency score' if scored else by}, in "
        f"{path.name}",
        field="keep_by",
        fix="Caption the layer with `score: true`, or keep by logprob"
        if scored
        else "Its engine reported none: caption with one that does, or keep all",
    )
