"""The columns of the Parquet export, declared for Hugging Face's `datasets`. Pure.

Declared as JSON in the files' metadata and as YAML in the card; both derive from `COLUMNS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from vila2.data.layers import CaptionRow

# Files of the split by the format of the export.
DATA_FILES = {"parquet": "data/train-*.parquet", "imagefolder": "train/**"}
_KINDS = {"str": "string", "int": "int64", "float": "float64", "float | None": "float64"}
# The key and the image's digest are in the row already.
PROVENANCE_FIELDS = {
    field.name: _KINDS[str(field.type)]
    for field in fields(CaptionRow)
    if field.name not in ("key", "sha256")
}
# A mapping is a list of such structs. Benchmark items have different fields in each
# benchmark, so `items` is a list as JSON text.
COLUMNS: Mapping[str, str | Mapping[str, str]] = {
    "key": "string",
    "image": "image",
    "caption": "string",
    "original": "string",
    "more_captions": "strings",
    "width": "int32",
    "height": "int32",
    "sha256": "string",
    "source": "string",
    "source_ids": "strings",
    "turns": {"question": "string", "answer": "string"},
    "captions": {"layer": "string", **PROVENANCE_FIELDS},
    "items": "string",
}


def features() -> dict[str, Any]:
    """The `huggingface` metadata of a Parquet file, so that images are decoded."""
    return {"info": {"features": {name: _feature(kind) for name, kind in COLUMNS.items()}}}


def card_metadata(format: str) -> dict[str, Any]:
    """The card's YAML block by which `load_dataset` finds files, and columns of Parquet."""
    files = [{"split": "train", "path": DATA_FILES[format]}]
    columns = {"dataset_info": {"features": _named(COLUMNS)}} if format == "parquet" else {}
    return {"configs": [{"config_name": "default", "data_files": files}], **columns}


def _feature(kind: str | Mapping[str, str]) -> Any:
    if kind == "strings":
        return [_feature("string")]
    if not isinstance(kind, str):
        # Every version of `datasets` reads a list of one struct; `List` needs version 4.
        return [{name: _feature(held) for name, held in kind.items()}]
    return {"_type": "Image"} if kind == "image" else {"dtype": kind, "_type": "Value"}


def _named(kinds: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": name, "list": "string"}
        if kind == "strings"
        else {"name": name, "dtype": kind}
        if isinstance(kind, str)
        else {"name": name, "list": _named(kind)}
        for name, kind in kinds.items()
    ]
