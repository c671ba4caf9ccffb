"""A team's own benchmark: images and `items.jsonl`, one question per line."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vila2.data.benchmark_items import item_problem
from vila2.data.errors import DataError
from vila2.data.readers.base import Reader, ReadOptions
from vila2.data.readers.files.image_files import ImageFiles
from vila2.data.readers.files.tree import inside
from vila2.data.readers.json_rows import BadRow, read_lines, text_of
from vila2.data.readers.keys import Keys
from vila2.data.sample import RawSample

TABLE = "items.jsonl"


class BenchmarkReader(Reader):
    """Reads lines of `{"id", "image", "benchmark", "kind", "question", "answers", "metric"}`.

    Lines are read one by one and images opened one by one; only the questions' texts are in
    memory, since those of one image need not be adjacent. `docs/benchmarks.md` has all fields.
    """

    fields = ("encoding",)
    looks_like = "a folder with items.jsonl (id, image, benchmark, kind, question, answers, metric)"

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path, options)
        self._table = path / TABLE
        if not self._table.is_file():
            raise DataError(
                f"has no {TABLE}", file=str(path), fix=f"Give the benchmark as {self.looks_like}"
            )

    def follows(self, name: str, path: Path) -> bool:
        """Only links to files below the folder."""
        return inside(self.path, path)

    def count(self) -> int | None:
        """Unknown until the questions are grouped by image."""
        return None

    def read(self) -> Iterator[RawSample]:
        """Malformed lines as problems, then one sample per image with all its questions."""
        grouped: dict[str, list[dict[str, Any]]] = {}
        seen: set[str] = set()
        for number, row in read_lines(self._table, self.options.encoding):
            try:
                item = _parse(row, seen)
            except BadRow as error:
                where = f"{TABLE} line {number}"
                yield RawSample(f"line-{number}", where, None, problem=f"row-malformed: {error}")
                continue
            grouped.setdefault(posixpath.normpath(item.pop("image")), []).append(item)
        keys, files = Keys(), ImageFiles(self.path)
        for image, items in grouped.items():
            loaded = files.load(image)
            yield RawSample(
                keys.of_file(image), image, loaded.data, items=tuple(items), problem=loaded.problem
            )


def _parse(row: Any, seen: set[str]) -> dict[str, Any]:
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, dict):
        raise BadRow("the line is not a JSON object")
    text_of(row, "image")
    if problem := item_problem(row):
        raise BadRow(problem)
    if row["id"] in seen:
        raise BadRow(f"field id: {row['id']} occurs twice; give each question its own")
    seen.add(row["id"])
    return dict(row)
