"""Rows of Parquet and Arrow files, a few at a time, with only the columns asked for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vila2.data.errors import DataError

_BATCH_BYTES = 32 * 1024 * 1024
_BATCH_ROWS = 256
MAX_COLUMNS = 10_000


def schema_of(path: Path) -> pa.Schema:
    """The columns of a file; raises `DataError` if it is not a Parquet or Arrow file."""
    try:
        schema = _arrow_stream(path).schema if path.suffix == ".arrow" else pq.read_schema(path)
    except Exception as error:
        # Arrow raises many types on hostile metadata (RuntimeError, OSError, UnicodeDecodeError).
        raise _unreadable(path, error) from error
    if len(schema.names) > MAX_COLUMNS:
        raise DataError(
            f"has {len(schema.names):,} columns, the limit is {MAX_COLUMNS:,}",
            file=str(path),
            fix="Keep the image, its text and what describes them",
        )
    repeated = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if repeated:
        raise DataError(
            f"has the column {repeated[0]!r} twice",
            file=str(path),
            field=repeated[0][:100],
            fix="Give each column a name of its own",
        )
    return schema


def count_of(path: Path) -> int | None:
    """Number of rows according to the footer; `None` if the format has none or it is damaged.

    The count is for a progress bar: what is wrong with the file is for its reader to report.
    """
    if path.suffix == ".arrow":
        return None
    try:
        return int(pq.read_metadata(path).num_rows)
    except Exception:
        return None  # Arrow raises many types on hostile metadata


def rows_of(path: Path, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Yield rows as {column: value}; about 32 MiB of rows are in memory at a time."""
    try:
        for batch in _batches(path, columns):
            yield from batch.to_pylist()
    except Exception as error:
        raise _unreadable(path, error) from error


def _batches(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    if path.suffix == ".arrow":
        for batch in _arrow_stream(path):
            chosen = batch.select(list(columns))
            step = _rows_for(chosen.nbytes, chosen.num_rows)
            for start in range(0, chosen.num_rows, step):
                yield chosen.slice(start, step)
        return
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as opened:
        for group in range(opened.metadata.num_row_groups):
            # The group's own size: reading a column's metadata crashes the whole process
            # if that metadata is hostile.
            about = opened.metadata.row_group(group)
            step = _rows_for(about.total_byte_size, about.num_rows)
            yield from opened.iter_batches(
                batch_size=step, row_groups=[group], columns=list(columns), use_threads=False
            )


def _rows_for(size: int, rows: int) -> int:
    each = max(1, size) / max(1, rows)
    return int(min(_BATCH_ROWS, max(1, _BATCH_BYTES // each)))


def _arrow_stream(path: Path) -> Any:
    """What `datasets.save_to_disk` writes is a stream; other tools write Arrow's file format."""
    source = pa.memory_map(str(path), "r")
    try:
        return pa.ipc.open_stream(source)
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_file(source)
        return pa.RecordBatchReader.from_batches(
            reader.schema, (reader.get_batch(n) for n in range(reader.num_record_batches))
        )


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(
        f"is not a readable Parquet or Arrow file ({str(error)[:300]})",
        file=str(path),
        fix="Write it again with pyarrow or datasets",
    )
