"""Lists of URLs: JSONL, CSV or Parquet with a column of URLs and one of captions."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.fetch import Fetcher, FetchRefused
from vila2.data.readers.arrow_rows import count_of, rows_of, schema_of
from vila2.data.readers.base import Reader, ReadOptions
from vila2.data.readers.csv_rows import read_csv
from vila2.data.readers.json_rows import BadRow, read_lines
from vila2.data.readers.keys import Keys, ids_beside
from vila2.data.readers.parquet import CAPTION_FIELDS, KEY_FIELDS
from vila2.data.sample import RawSample

URL_FIELDS = ("url", "URL", "image_url", "img_url", "link", "src")
FETCHERS = 32
ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class UrlRow:
    """One row: a sample's key, where its image is, and its text; or the problem with the row."""

    key: str
    url: str
    caption: str | None
    problem: str | None = None
    ids: tuple[str, ...] = ()


class UrlListReader(Reader):
    """Reads a list of URLs and fetches the images from public addresses only.

    The columns are those that `options` name, else the first of the usual names. Every row gives
    one sample or one problem. Reading fetches; `rows` only lists.
    """

    fields = ("url_field", "caption_field", "encoding")
    looks_like = "a .jsonl, .csv or .parquet file with the columns url and caption"

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path, options)
        # An uploaded list is in a folder of its own.
        held = sorted(f for f in path.iterdir() if f.suffix in _LISTS) if path.is_dir() else [path]
        if len(held) != 1 or held[0].suffix not in _LISTS:
            raise DataError(
                f"is not one list of addresses ({', '.join(f.name for f in held[:5]) or 'empty'})",
                file=str(path),
                fix=f"Give {self.looks_like}",
            )
        self._file = held[0]

    def count(self) -> int | None:
        """Number of rows of a Parquet file; else unknown."""
        return count_of(self._file) if self._file.suffix == ".parquet" else None

    def read(self) -> Iterator[RawSample]:
        """Fetch every image, in the order of the rows."""
        with Fetcher() as fetcher:
            yield from fetch_rows(self.rows(), fetcher)

    def rows(self) -> Iterator[UrlRow]:
        """The rows, each with a key of its own, in order."""
        keys, options = Keys(), self.options
        names: dict[str, str] | None = None
        for number, row in _LISTS[self._file.suffix](self._file, options.encoding):
            where = f"{self._file.name} row {number}"
            if isinstance(row, BadRow) or not isinstance(row, Mapping):
                told = row if isinstance(row, BadRow) else "the row is not an object"
                yield UrlRow(keys.of(where, source=where), where, None, f"row-malformed: {told}")
                continue
            if names is None:
                names = self._columns(set(row))
            url, caption = row.get(names["url"]), row.get(names.get("caption", ""))
            if not isinstance(url, str) or not url.strip():
                odd = f"url-missing: field {names['url']} is empty; fill it or drop the row"
                yield UrlRow(keys.of(where, source=where), where, None, odd)
                continue
            named = row.get(names.get("key", ""))
            key = keys.of(str(named) if named not in (None, "") else url, source=where)
            problem: str | None = None
            if not isinstance(caption, str) or not caption.strip():
                caption = None
                if not options.captionless:
                    problem = "caption-missing: the row has no text; give it one or drop it"
            yield UrlRow(key, url.strip(), caption, problem, ids_beside(key, named))

    def _columns(self, given: set[str]) -> dict[str, str]:
        options = self.options
        found: dict[str, str] = {}
        for role, wanted, usual in (
            ("url", options.url_field, URL_FIELDS),
            ("caption", options.caption_field, CAPTION_FIELDS),
            ("key", "", KEY_FIELDS),
        ):
            name = wanted if wanted in given else next((n for n in usual if n in given), None)
            if (wanted and wanted not in given) or (role == "url" and name is None):
                raise DataError(
                    f"has no column {wanted or 'url'} (it has {', '.join(sorted(given))[:300]})",
                    file=str(self._file),
                    field=role,
                    fix=f"Name it with --{role}-field",
                )
            if name is not None:
                found[role] = name
        return found


def fetch_rows(
    rows: Iterable[UrlRow],
    fetcher: Fetcher,
    *,
    workers: int = FETCHERS,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[RawSample]:
    """Fetch the images of `rows` with `workers` threads; samples come in the rows' order.

    At most 2 x `workers` images are in memory. Transient failures are retried, with `ATTEMPTS`
    attempts in all; a refusal becomes the sample's problem, with the fetcher's reason.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="fetch") as pool:
        waiting: deque[Future[RawSample]] = deque()
        for row in rows:
            waiting.append(pool.submit(_fetch, row, fetcher, pause))
            if len(waiting) >= 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _fetch(row: UrlRow, fetcher: Fetcher, pause: Callable[[float], None]) -> RawSample:
    if row.problem is not None:
        return RawSample(row.key, row.url, None, problem=row.problem)
    for attempt in range(1, ATTEMPTS + 1):
        try:
            data = fetcher.fetch(row.url).data
            return RawSample(row.key, row.url, data, row.caption, source_ids=row.ids)
        except FetchRefused as refused:
            if not refused.retryable or attempt == ATTEMPTS:
                problem = f"{refused.reason}: {refused.detail}"
                return RawSample(row.key, row.url, None, problem=problem)
            pause(2.0**attempt)
    raise AssertionError("the last attempt returns")


def _csv_rows(path: Path, encoding: str) -> Iterator[tuple[int, Any]]:
    header, rows = read_csv(path, encoding=encoding)
    for row in rows:
        cells = dict(zip(header, row.cells, strict=not row.problem))
        yield row.line, BadRow(row.problem) if row.problem else cells


def _parquet_rows(path: Path, _: str) -> Iterator[tuple[int, Any]]:
    flat = [field.name for field in schema_of(path) if field.type.num_fields == 0]
    yield from enumerate(rows_of(path, flat))


_LISTS: dict[str, Callable[[Path, str], Iterator[tuple[int, Any]]]] = {
    ".jsonl": read_lines,
    ".csv": _csv_rows,
    ".parquet": _parquet_rows,
}
