"""Caption layers: the captions of one dataset version by one captioner.

A layer is one Parquet file per shard whose rows follow the shard's samples. Every sample has a
row: either a caption that passed the gate, or a quarantine with the reason. Original captions are
never touched.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from vila2.data.errors import DataError

CAPTIONED = "captioned"
QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One sample's caption and where it came from.

    `logprob` is the mean log-probability of the generated tokens in nats (0 if the text is empty,
    `None` if the engine reports none), `tokens` their number, `attempt` counts from 0, `reason`
    names the gate check that failed and is empty for an accepted caption. `consistency` is the
    score of `vila2.engine.consistency`, nats per token, `None` if the caption was not scored.
    """

    key: str
    sha256: str
    caption: str
    status: str
    reason: str
    prompt_id: str
    prompt: str
    model: str
    seed: int
    attempt: int
    temperature: float
    tokens: int
    logprob: float | None
    finish_reason: str
    consistency: float | None = None


_PYTHON_TO_ARROW = {
    "str": pa.string(),
    "int": pa.int64(),
    "float": pa.float64(),
    "float | None": pa.float64(),
}
SCHEMA = pa.schema([(f.name, _PYTHON_TO_ARROW[str(f.type)]) for f in fields(CaptionRow)])
# Schema of layers without scores; keeps the bytes of layers written before scores existed.
_UNSCORED = SCHEMA.remove(SCHEMA.get_field_index("consistency"))


@dataclass(frozen=True, slots=True)
class LayerShardSummary:
    """Summary of one shard of a layer: counts by outcome and the file's digest."""

    captioned: int
    quarantined: Mapping[str, int]
    sha256: str


def encode_layer_shard(rows: Sequence[CaptionRow]) -> tuple[bytes, LayerShardSummary]:
    """Return the Parquet bytes of one shard's captions and their summary.

    The column `consistency` is present if any row has a score.
    Raises `ValueError` when a row is neither captioned nor quarantined with a reason.
    """
    for row in rows:
        accounted = row.status == CAPTIONED or (row.status == QUARANTINED and row.reason)
        if not accounted:
            raise ValueError(f"sample {row.key}: status {row.status!r} without a reason")
    schema = SCHEMA if any(row.consistency is not None for row in rows) else _UNSCORED
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    quarantined = Counter(row.reason for row in rows if row.status == QUARANTINED)
    return data, LayerShardSummary(
        captioned=len(rows) - quarantined.total(),
        quarantined=dict(quarantined),
        sha256=hashlib.sha256(data).hexdigest(),
    )


def decode_layer_shard(source: bytes | Path) -> list[CaptionRow]:
    """Read one shard's captions, in the order of the shard's samples."""
    reader = pa.BufferReader(source) if isinstance(source, bytes) else source
    with pq.ParquetFile(reader) as opened:
        table = opened.read()
    if table.schema.names not in (SCHEMA.names, _UNSCORED.names):
        raise DataError(
            f"not a layer's shard: its columns are {', '.join(table.schema.names)}",
            file="" if isinstance(source, bytes) else str(source),
            fix=f"A layer's shard has {', '.join(SCHEMA.names)}",
        )
    return [CaptionRow(**row) for row in table.to_pylist()]


def captions_of(rows: Sequence[CaptionRow]) -> dict[str, str | None]:
    """Map each sample's key to its caption, `None` if the sample was quarantined."""
    return {row.key: row.caption if row.status == CAPTIONED else None for row in rows}
