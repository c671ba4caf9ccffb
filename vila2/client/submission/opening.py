"""A submission: its source, the dataset it goes to, and what names it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from vila2.client.client import Client
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.readers.base import Reader
from vila2.schemas.rest.datasets import DatasetIn, Kind, ReadOptionsIn, Version, VersionIn

KIND_OF_FORMAT: dict[str, Kind] = {
    "folder": "pairs",
    "webdataset": "pairs",
    "img2dataset": "pairs",
    "llava": "conversations",
    "parquet": "pairs",
    "imagefolder": "pairs",
    "urls": "pairs",
    "benchmark": "benchmark",
}
# URLs are fetched by the store, which resumes after a crash and enforces the limits.
READ_BY_STORE = ("urls",)


@dataclass(frozen=True, slots=True)
class About:
    """What is said of a submission beside its samples."""

    format: str
    options: ReadOptions
    source: str = ""
    licence: str = ""
    shard_samples: int = 2000
    again: bool = False


def opened_source(
    format: str, path: Path, options: ReadOptions | None
) -> tuple[Reader, ReadOptions]:
    """The reader of a source, and its options: images without a single text are to be captioned.

    Raises `DataError` for an unknown format or a path that does not fit.
    """
    options = options or ReadOptions()
    reader = open_reader(format, path, options)
    if not reader.bare:
        return reader, options
    options = replace(options, captionless=True)
    return open_reader(format, path, options), options


def open_version(
    client: Client,
    dataset: DatasetIn,
    about: About,
    token: Callable[[str], str],
    *,
    by_store: bool = False,
    upload_bytes: int = 0,
) -> Version:
    """The version of this submission, which may exist; `token` names it by what is said of it."""
    client.datasets.create(dataset)
    wanted = VersionIn(
        source=about.source,
        licence=about.licence,
        shard_samples=about.shard_samples,
        format=about.format if by_store else None,  # type: ignore[arg-type]
        options=ReadOptionsIn(**asdict(about.options)),
        upload_bytes=upload_bytes,
    )
    how = f"{about.format}:{wanted.model_dump_json()}"
    how += f":{time.time_ns()}" if about.again else ""
    opened = client.datasets.open_version(dataset.name, wanted, token(how))
    if opened.state != "failed":
        return opened
    # The same bytes may be admitted now: a link has become a file, or a limit was raised.
    return client.datasets.open_version(dataset.name, wanted, token(f"{how}:{time.time_ns()}"))
