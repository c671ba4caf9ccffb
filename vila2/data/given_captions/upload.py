"""The one Parquet file in which captions are sent to the store: `key`, `caption`, `row`."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vila2.data.errors import DataError
from vila2.data.given_captions.files import GivenCaption
from vila2.data.readers.arrow_rows import rows_of, schema_of
from vila2.data.sample import RawSample

SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "caption", "row")])
_ROWS = 10_000
MAX_CHARACTERS = 100_000
# Rows sent through the sandbox's pipe at a time.
_BATCH_CHARACTERS = 1 << 20
FORMAT = "captions"


def encode_captions(rows: Iterable[GivenCaption]) -> bytes:
    """The Parquet file of these rows."""
    out, waiting = io.BytesIO(), iter(rows)
    with pq.ParquetWriter(out, SCHEMA, compression="zstd") as file:
        while group := list(itertools.islice(waiting, _ROWS)):
            file.write_table(pa.Table.from_pylist([asdict(row) for row in group], schema=SCHEMA))
    return out.getvalue()


def batches(path: Path) -> Iterator[RawSample]:
    """What the sandboxed process writes: the rows, many in one raw sample.

    `row` may be missing; a row is then known by its number. Raises `DataError` for other columns
    or a text of more than `MAX_CHARACTERS`.
    """
    schema = schema_of(path)
    texts = {field.name for field in schema if _is_text(field.type)}
    missing = [name for name in ("key", "caption") if name not in texts]
    if missing:
        raise DataError(
            f"has no column of text {', '.join(missing)}",
            field="body",
            fix="Send Parquet with the columns key and caption, or use the Python client",
        )
    held: list[dict[str, Any]] = []
    size = 0
    columns = [name for name in SCHEMA.names if name in texts]
    for number, row in enumerate(rows_of(path, columns), 1):
        made = {name: row.get(name) or "" for name in SCHEMA.names}
        made["row"] = made["row"] or f"row {number}"
        longest = max(map(len, made.values()))
        if longest > MAX_CHARACTERS:
            raise DataError(
                f"{made['row'][:200]} has {longest:,} characters, the limit is {MAX_CHARACTERS:,}",
                field="caption",
                fix="Shorten it",
            )
        held.append(made)
        size += sum(map(len, made.values())) + 100
        if size > _BATCH_CHARACTERS:
            yield RawSample(FORMAT, "", None, items=tuple(held))
            held, size = [], 0
    if held:
        yield RawSample(FORMAT, "", None, items=tuple(held))


def of_batches(batches: Iterable[RawSample]) -> Iterator[GivenCaption]:
    """The rows in what `batches` wrote."""
    for batch in batches:
        for held in batch.items:
            yield GivenCaption(str(held["row"]), str(held["key"]), str(held["caption"]))


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))
