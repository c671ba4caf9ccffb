"""Reads a version's uploads as raw samples: parts, files read in a sandbox, or fetched URLs."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.datasets.tables import UploadRow, VersionRow
from services.datasets.versions.uploads import pieces, upload_key
from vila2.data.errors import DataError
from vila2.data.fetch import Fetcher, FetchPolicy
from vila2.data.readers import ReadOptions
from vila2.data.readers.allowance import Bounds
from vila2.data.readers.files.tree import MAX_TREE_BYTES, TREE, lay_out
from vila2.data.readers.urls import UrlRow, fetch_rows
from vila2.data.sample import RawSample
from vila2.data.sandboxed_reader import read_apart
from vila2.data.shards import read_raw_shard, write_raw_shard
from vila2.schemas.canonical import canonical_json

FETCH_CHUNK = 500
_ANY_NUMBER = 1 << 62


class Incoming:
    """Reads the uploads of a version; the same uploads yield the same samples."""

    def __init__(
        self, database: Database, objects: ObjectStore, fetching: FetchPolicy, bounds: Bounds
    ) -> None:
        self._database, self._objects, self._fetching = database, objects, fetching
        self._bounds = bounds

    def raws(
        self, version: VersionRow, scratch: Path, report: Callable[[int], None]
    ) -> Iterator[RawSample]:
        """Yield raw samples in order; `report` receives the number of URLs fetched so far.

        Raises `DataError` if the pieces of a file are incomplete.
        """
        with self._database.transaction() as session:
            held = list(pieces(session, version.id))
        if not version.format:
            for part in held:
                yield from read_raw_shard(self._objects.local(upload_key(part)))
            return
        path = self._laid_out(held, scratch / "files")
        options = ReadOptions(**version.options)
        if version.format == "urls":
            yield from self._fetched(version, path, options, report)
        else:
            yield from read_apart(version.format, path, options, self._bounds)

    def _laid_out(self, held: list[UploadRow], root: Path) -> Path:
        """Reassemble the uploaded files from their pieces; returns what is to be read."""
        listing = b""
        for file, group in itertools.groupby(held, key=lambda row: row.file):
            if file == TREE:
                listing = self._listing(list(group))
                continue
            target = root / file
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                out = target.open("wb")
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise DataError(
                    f"{file} was uploaded beside another file whose name is that of its folder",
                    field="file",
                    fix="Give one of them another name",
                ) from error
            numbers = []
            with out:
                for row in group:
                    numbers.append(row.number)
                    out.write(self._objects.get(upload_key(row)))
            if numbers != list(range(len(numbers))):
                raise DataError(
                    f"file {file} has the pieces {numbers[:20]}",
                    field="piece",
                    fix="Number the pieces of a file from 0 without a gap",
                )
        root.mkdir(parents=True, exist_ok=True)
        return lay_out(root, listing)

    def _listing(self, held: list[UploadRow]) -> bytes:
        if sum(row.bytes for row in held) > MAX_TREE_BYTES:
            raise DataError(
                f"its list of odd names and links has more than {MAX_TREE_BYTES:,} bytes",
                field=TREE,
                fix="Rename the files, and copy what is linked",
            )
        return b"".join(self._objects.get(upload_key(row)) for row in held)

    def _fetched(
        self, version: VersionRow, path: Path, options: ReadOptions, report: Callable[[int], None]
    ) -> Iterator[RawSample]:
        """Fetch in chunks and store each, so that a retry after a crash fetches only the rest."""
        rows = read_apart("urls", path, options, self._bounds)
        done = 0
        with Fetcher(self._fetching) as fetcher:
            while chunk := [_row(raw) for raw in itertools.islice(rows, FETCH_CHUNK)]:
                text = canonical_json([asdict(row) for row in chunk])
                named = hashlib.sha256(text).hexdigest()
                key = f"uploads/{version.id}/fetched/{done:09d}-{named[:16]}"
                if not self._objects.exists(key):
                    out = io.BytesIO()
                    write_raw_shard(_counted(fetch_rows(chunk, fetcher), done, report), out)
                    self._objects.put(key, out.getvalue())
                    crashpoint("ingest.fetched")
                done += len(chunk)
                report(done)
                yield from read_raw_shard(self._objects.local(key), limit=_ANY_NUMBER)


def _row(raw: RawSample) -> UrlRow:
    return UrlRow(raw.key, raw.source, raw.caption, raw.problem, raw.source_ids)


def _counted(
    raws: Iterator[RawSample], done: int, report: Callable[[int], None]
) -> Iterator[RawSample]:
    for number, raw in enumerate(raws, 1):
        report(done + number)
        yield raw
