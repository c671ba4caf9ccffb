"""A Hugging Face `datasets` folder: `data/train-00000-of-0000N.parquet`, images within."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from vila2.data.layers import CaptionRow
from vila2.data.writers.captioned import Captioned, in_groups
from vila2.data.writers.hub import COLUMNS, PROVENANCE_FIELDS, features

GROUP_ROWS = 100
GROUP_BYTES = 64 * 1024 * 1024
_ARROW = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "strings": pa.list_(pa.string()),
    "image": pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
}
SCHEMA = pa.schema(
    [
        (
            name,
            _ARROW[kind]
            if isinstance(kind, str)
            else pa.list_(pa.struct([(held, _ARROW[of]) for held, of in kind.items()])),
        )
        for name, kind in COLUMNS.items()
    ],
    metadata={"huggingface": json.dumps(features())},
)


def write_parquet(samples: Iterable[Captioned], directory: Path, *, shard_size: int) -> int:
    """Write files of at most `shard_size` samples; returns the number of samples.

    `caption` is the assembled text, `original` the submitted one; `captions` has for each layer
    its name and every field of its row, all but the caption null if only that is known. A row
    group has at most `GROUP_ROWS` samples and `GROUP_BYTES` of images, or one image; this
    bounds memory and lets readers skip. Equal samples give equal bytes.
    """
    data = directory / "data"
    data.mkdir()
    written: list[Path] = []
    count = 0
    for number, group in in_groups(samples, shard_size):
        written.append(data / f"{number:05d}.parquet")
        # Images are compressed and distinct: a dictionary would double their size.
        with pq.ParquetWriter(
            written[-1],
            SCHEMA,
            compression="zstd",
            use_dictionary=False,
            write_statistics=["key"],
        ) as out:
            for rows in _row_groups(group):
                out.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                count += len(rows)
    # The number of files, which their names contain, is known only now.
    for number, path in enumerate(written):
        path.rename(data / f"train-{number:05d}-of-{len(written):05d}.parquet")
    return count


def _row_groups(samples: Iterable[Captioned]) -> Iterator[list[dict[str, Any]]]:
    rows: list[dict[str, Any]] = []
    size = 0
    for captioned in samples:
        more = len(captioned.sample.image)
        if rows and (len(rows) == GROUP_ROWS or size + more > GROUP_BYTES):
            yield rows
            rows, size = [], 0
        rows.append(_row(captioned))
        size += more
    if rows:
        yield rows


def _row(captioned: Captioned) -> dict[str, Any]:
    sample = captioned.sample
    return {
        "key": sample.key,
        "image": {"bytes": sample.image, "path": captioned.file_name},
        "caption": captioned.text,
        "original": sample.caption,
        "more_captions": list(sample.more_captions),
        "width": sample.width,
        "height": sample.height,
        "sha256": sample.sha256,
        "source": sample.source,
        "source_ids": [sample.source_id, *sample.source_ids[1:]],
        "turns": [asdict(turn) for turn in sample.turns],
        "captions": [_caption(name, row) for name, row in captioned.captions.items()],
        "items": json.dumps([dict(item) for item in sample.items], ensure_ascii=False),
    }


def _caption(layer: str, row: CaptionRow | str) -> dict[str, Any]:
    if isinstance(row, str):
        return {"layer": layer, **dict.fromkeys(PROVENANCE_FIELDS), "caption": row}
    return {"layer": layer, **{name: getattr(row, name) for name in PROVENANCE_FIELDS}}
