"""The index of a shard: all metadata except the images, and each image's offset in the tar.

One Parquet file per shard, with rows in the order of the samples. It allows lookup by key or digest
without reading the tar, and it turns a tar in another layout into a shard, which then consists of
exactly the samples that the index lists.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from vila2.data.errors import ShardError
from vila2.data.sample import Sample, Turn

SUFFIX = ".index.parquet"


@dataclass(frozen=True, slots=True)
class IndexRow:
    """One sample: `offset` and `size` are the image's bytes within the tar."""

    key: str
    sha256: str
    extension: str
    width: int
    height: int
    offset: int
    size: int
    caption: str
    source: str
    about: str


_PYTHON_TO_ARROW = {"str": pa.string(), "int": pa.int64()}
SCHEMA = pa.schema([(f.name, _PYTHON_TO_ARROW[str(f.type)]) for f in fields(IndexRow)])


def index_row(sample: Sample, offset: int) -> IndexRow:
    """The row of a sample whose image begins at `offset`."""
    about: dict[str, Any] = {}
    if sample.turns:
        about["turns"] = [[turn.question, turn.answer] for turn in sample.turns]
    if sample.items:
        about["items"] = [dict(item) for item in sample.items]
    if sample.source_ids:
        about["source_ids"] = list(sample.source_ids)
    if sample.more_captions:
        about["more_captions"] = list(sample.more_captions)
    return IndexRow(
        key=sample.key,
        sha256=sample.sha256,
        extension=sample.extension,
        width=sample.width,
        height=sample.height,
        offset=offset,
        size=len(sample.image),
        caption=sample.caption,
        source=sample.source,
        about=json.dumps(about, ensure_ascii=False, sort_keys=True) if about else "",
    )


def sample_of(row: IndexRow, image: bytes) -> Sample:
    """The sample of a row, with its image's bytes."""
    about = json.loads(row.about) if row.about else {}
    return Sample(
        key=row.key,
        image=image,
        extension=row.extension,
        sha256=row.sha256,
        width=row.width,
        height=row.height,
        caption=row.caption,
        turns=tuple(Turn(question, answer) for question, answer in about.get("turns", ())),
        items=tuple(about.get("items", ())),
        source=row.source,
        source_ids=tuple(about.get("source_ids", ())),
        more_captions=tuple(about.get("more_captions", ())),
    )


def source_ids_of(about: str) -> tuple[str, ...]:
    """The `source_ids` in the column `about` of a row."""
    return tuple(json.loads(about).get("source_ids", ())) if "source_ids" in about else ()


def encode_index(rows: Sequence[IndexRow]) -> bytes:
    """The Parquet bytes of a shard's index."""
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=SCHEMA)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return bytes(sink.getvalue().to_pybytes())


def decode_index(
    source: bytes | Path, columns: Sequence[str] | None = None
) -> list[dict[str, Any]]:
    """Return rows as dicts, restricted to `columns` if given."""
    held = pa.BufferReader(source) if isinstance(source, bytes) else source
    # `read_table` would import pyarrow's datasets, and pandas with them.
    with pq.ParquetFile(held) as opened:
        rows: list[dict[str, Any]] = opened.read(
            None if columns is None else list(columns)
        ).to_pylist()
    return rows


def tar_beside(index: Path) -> Path:
    """Return the path of the tar that an index describes; both are in the same folder."""
    return index.with_name(index.name.removesuffix(SUFFIX) + ".tar")


def read_indexed(index: Path, tar: BinaryIO | None = None) -> Iterator[Sample]:
    """Read the samples that an index lists out of the tar beside it.

    Every image is checked against its digest; raises `ShardError` if the tar was changed after
    indexing.
    """
    if tar is None:
        with tar_beside(index).open("rb") as opened:
            yield from read_indexed(index, opened)
        return
    for held in decode_index(index):
        row = IndexRow(**held)
        tar.seek(row.offset)
        image = tar.read(row.size)
        if hashlib.sha256(image).hexdigest() != row.sha256:
            raise ShardError(
                f"sample {row.key} is not the image that was registered",
                field=row.key,
                fix="The tar was changed in place; put it back, or register a new version",
            )
        yield sample_of(row, image)
