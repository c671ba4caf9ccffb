"""Importing existing captions as a layer of a dataset."""

from __future__ import annotations

import re
from pathlib import Path

from vila2.client.client import Client
from vila2.data.errors import DataError
from vila2.data.given_captions.files import read_captions
from vila2.data.given_captions.upload import encode_captions
from vila2.data.text import clean_text
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.datasets import CaptionFile, CaptionFileIn


def import_captions(
    client: Client,
    dataset: str,
    path: Path,
    *,
    name: str = "",
    key_column: str = "",
    caption_column: str = "",
) -> CaptionFile:
    """Import a file of captions (or a folder of .txt files) as a sealed layer.

    `dataset` is NAME or NAME@VERSION. `name` is the layer's name, by default the file's. Importing
    the same captions again returns the same layer. Raises `DataError` for a file that cannot be
    read, `ApiError` if the store refuses it.
    """
    try:
        ref = DatasetRef.parse(dataset)
    except ValueError as error:
        raise DataError(str(error), field="dataset") from error
    version = client.datasets.version(ref.name, ref.version)
    rows = read_captions(path, key_column=key_column, caption_column=caption_column)
    file = clean_text(path.absolute().name)
    asked = CaptionFileIn(name=name or layer_name(file), file=file[-180:])
    return client.datasets.import_captions(
        version.dataset, version.version, asked, encode_captions(rows)
    )


def layer_name(file: str) -> str:
    """The default layer name for a file of captions."""
    stem = re.sub(r"\.(csv|tsv|jsonl|ndjson|json|parquet)$", "", file, flags=re.IGNORECASE)
    return re.sub(r"\s+", "-", stem.strip())[:200] or "imported"
