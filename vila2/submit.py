"""Submitting a dataset: read it here, upload it in parts, have it checked there.

A submission has a token made of what was read, so submitting the same folder again continues or
finds the version that it made before.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from vila2.api.datasets import DatasetIn, Kind, Version, VersionIn
from vila2.client import Client
from vila2.data.readers import open_reader
from vila2.data.sample import RawSample
from vila2.data.shards import write_raw_shard

PART_BYTES = 48 * 1024 * 1024
PART_SAMPLES = 4000
KIND_OF_FORMAT: dict[str, Kind] = {
    "folder": "pairs",
    "webdataset": "pairs",
    "llava": "conversations",
    "benchmark": "benchmark",
}

Report = Callable[[str, int, int | None], None]  # phase, done, total


def submit(
    client: Client,
    path: Path,
    *,
    name: str,
    format: str,
    shard_samples: int = 2000,
    report: Report = lambda *_: None,
    poll_seconds: float = 0.3,
) -> Version:
    """Read, upload and seal; returns the version once it is ingested.

    Raises `DataError` for a folder that cannot be read, `ApiError` where the store refuses. Check
    the returned version's `state` and `rejected`.
    """
    reader = open_reader(format, path)
    client.datasets.create(DatasetIn(name=name, kind=KIND_OF_FORMAT[format]))
    total = reader.count()
    digest = hashlib.sha256(f"{format}:{shard_samples}".encode())
    parts: list[bytes] = []
    done = 0
    # Parts are made before the version is opened: their digest is the submission's token.
    for part in _parts(reader.read()):
        buffer = io.BytesIO()
        done += write_raw_shard(part, buffer)
        parts.append(buffer.getvalue())
        digest.update(hashlib.sha256(parts[-1]).digest())
        report("reading", done, total)
    opened = client.datasets.open_version(
        name,
        VersionIn(source=path.name, token=digest.hexdigest()[:32], shard_samples=shard_samples),
    )
    for number, data in enumerate(parts):
        if opened.state == "open" and number not in opened.parts:
            client.datasets.put_part(name, opened.version, number, data)
        report("uploading", number + 1, len(parts))
    version = client.datasets.seal_version(name, opened.version)
    while version.state == "ingesting":
        time.sleep(poll_seconds)
        version = client.datasets.version(name, opened.version)
        report("checking", version.progress.done, done)
    return version


def _parts(raws: Iterator[RawSample]) -> Iterator[list[RawSample]]:
    part: list[RawSample] = []
    size = 0
    for raw in raws:
        part.append(raw)
        size += len(raw.image or b"")
        if size >= PART_BYTES or len(part) >= PART_SAMPLES:
            yield part
            part, size = [], 0
    if part:
        yield part
