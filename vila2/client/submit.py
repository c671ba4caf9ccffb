"""Submitting a dataset: read it locally and upload it in parts, or let the store read it.

A submission is identified by its content. Submitting the same data again returns the existing
version, and an interrupted submission resumes with the missing parts. Only one part is held in
memory at a time.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from vila2.client.client import Client
from vila2.client.submission.opening import (
    KIND_OF_FORMAT,
    READ_BY_STORE,
    About,
    open_version,
    opened_source,
)
from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions
from vila2.data.readers.files.tree import TREE, Tree
from vila2.data.sample import RawSample
from vila2.data.shards import write_raw_shard
from vila2.schemas.rest.datasets import DatasetIn, Kind, ReadOptionsIn, Version, VersionIn

PART_BYTES = 48 * 1024 * 1024
PART_SAMPLES = 4000
# Above this size, files are identified by name, size and time instead of a second read.
_READ_FOR_TOKEN = 20 * 1024**3

Report = Callable[[str, int, int | None], None]  # phase, done, total


def submit(
    client: Client,
    path: Path,
    *,
    name: str,
    format: str,
    shard_samples: int = 2000,
    options: ReadOptions | None = None,
    source: str = "",
    licence: str = "",
    by_store: bool = False,
    again: bool = False,
    report: Report = lambda *_: None,
    poll_seconds: float = 0.3,
) -> Version:
    """Read, upload and seal; returns the version once it is ingested.

    With `by_store` (always for `urls`) the files are uploaded unchanged and the store reads them.
    With `again` a new version is created even if the data was submitted before. Raises `DataError`
    for data that cannot be read, `ApiError` if the store refuses it. Check the returned version's
    `state` and `rejected`. A folder of images without any text is submitted as images to be
    captioned.
    """
    by_store = by_store or format in READ_BY_STORE
    # Checks the name before anything else.
    dataset = DatasetIn(name=name, kind=KIND_OF_FORMAT.get(format, "pairs"))
    reader, options = opened_source(format, path, options)
    tree = _readable(reader.tree())
    about = About(format, options, source or path.name, licence, shard_samples, again)
    # The size of parts is known only once they are made; the store checks each of them.
    opened = open_version(
        client, dataset, about, lambda how: token_of(tree, how),
        by_store=by_store, upload_bytes=tree.bytes() if by_store else 0,
    )  # fmt: skip
    total = reader.count()
    if not by_store:
        return fill(client, opened, reader.read(), total, report, poll_seconds)
    if opened.state == "open":
        _send_files(client, opened, tree, report)
    return _ingested(client, opened, report, poll_seconds, total)


def fill(
    client: Client,
    opened: Version,
    raws: Iterator[RawSample],
    total: int | None,
    report: Report,
    poll_seconds: float,
) -> Version:
    """Upload samples to a version if it is open, and seal it; returns it once it is ingested."""
    if opened.state == "open":
        total = _send_parts(client, opened, raws, total, report)
    return _ingested(client, opened, report, poll_seconds, total)


def register(
    client: Client,
    origin: str,
    prefix: str,
    *,
    name: str,
    kind: Kind = "pairs",
    options: ReadOptions | None = None,
    licence: str = "",
    token: str = "",
    report: Report = lambda *_: None,
    poll_seconds: float = 0.3,
) -> Version:
    """Register the WebDataset tars below `prefix` in a configured source, without copying them.

    Registering again creates a new version, since tars may have been added. The same `token`
    returns the existing version.
    """
    client.datasets.create(DatasetIn(name=name, kind=kind))
    opened = client.datasets.open_version(
        name,
        VersionIn(
            source=f"s3://{origin}/{prefix}",
            licence=licence,
            format="webdataset",
            options=ReadOptionsIn(**asdict(options or ReadOptions())),
            origin=origin,
            prefix=prefix,
        ),
        token,
    )
    return _ingested(client, opened, report, poll_seconds)


def _send_parts(
    client: Client, opened: Version, raws: Iterator[RawSample], total: int | None, report: Report
) -> int:
    """Upload every part that the store lacks; returns the number of samples read."""
    held = _held(client, opened)
    done = number = 0
    for number, part in enumerate(_parts(raws)):
        buffer = io.BytesIO()
        write_raw_shard(part, buffer)
        data = buffer.getvalue()
        if held.get(("", number)) != hashlib.sha256(data).hexdigest():
            client.datasets.put_part(opened.dataset, opened.version, number, data)
        done += len(part)
        report("uploading", done, total)
    if not done:
        raise DataError("holds no sample", fix="Check the path and the format")
    if any(part > number for _, part in held):
        raise DataError(
            "has changed while it was submitted: the store has more parts than there are now",
            fix="Submit it again under another name",
        )
    return done


def _send_files(client: Client, opened: Version, tree: Tree, report: Report) -> None:
    held, sent, total = _held(client, opened), 0, tree.bytes()

    def send(name: str, piece: int, data: bytes) -> None:
        if held.get((name, piece)) != hashlib.sha256(data).hexdigest():
            client.datasets.put_piece(opened.dataset, opened.version, name, piece, data)

    if listing := tree.listing():
        send(TREE, 0, listing)
    for name, file in tree.files():
        with file.open("rb") as content:
            # An empty file is one empty piece: it is there, and counts.
            send(name, 0, data := content.read(PART_BYTES))
            for piece in itertools.count(1):
                sent += len(data)
                report("uploading (bytes)", sent, total)
                if not (data := content.read(PART_BYTES)):
                    break
                send(name, piece, data)


def _readable(tree: Tree) -> Tree:
    """`tree` itself; raises `DataError` for a file that may not be read."""
    for _, file in tree.files():
        if not os.access(file, os.R_OK):
            raise DataError("may not be read", file=str(file), fix="Change its permissions")
    return tree


def _held(client: Client, opened: Version) -> dict[tuple[str, int], str]:
    uploads = client.datasets.uploads(opened.dataset, opened.version)
    return {(held.file, held.number): held.sha256 for held in uploads}


def _ingested(
    client: Client,
    opened: Version,
    report: Report,
    poll_seconds: float,
    total: int | None = None,
) -> Version:
    version = client.datasets.seal_version(opened.dataset, opened.version)
    while version.state == "ingesting":
        time.sleep(poll_seconds)
        version = client.datasets.version(opened.dataset, opened.version)
        report("checking", version.progress.done, total)
    return version


def token_of(tree: Tree, how: str) -> str:
    """Identifies a submission by its content and options; above 20 GiB, by its file listing."""
    read = tree.bytes() <= _READ_FOR_TOKEN
    digest = hashlib.sha256(how.encode() + tree.listing())
    for name, file in tree.files():
        about = file.stat()
        marks = [name, about.st_size, None if read else about.st_mtime_ns]
        digest.update(json.dumps(marks).encode())
        if read:
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()[:32]


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
