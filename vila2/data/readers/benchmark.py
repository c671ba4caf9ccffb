"""A team's own benchmark: pictures and `items.jsonl`, one question per line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.readers.base import Reader, read_inside
from vila2.data.readers.keys import key_of_path
from vila2.data.sample import RawSample

TABLE = "items.jsonl"
FIELDS = ("id", "image", "benchmark", "kind", "question", "answers", "metric")


class BenchmarkReader(Reader):
    """Reads lines of `{"id", "image", "benchmark", "kind", "question", "answers", "metric"}`."""

    looks_like = "a folder with items.jsonl (id, image, benchmark, kind, question, answers, metric)"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._table = path / TABLE
        if not self._table.is_file():
            raise DataError(f"has no {TABLE}", file=str(path), fix="See the benchmark format")

    def count(self) -> int | None:
        """Unknown until the questions are grouped by picture."""
        return None

    def read(self) -> Iterator[RawSample]:
        """One sample per picture with all its questions; a malformed line is a problem."""
        grouped: dict[str, list[dict[str, Any]]] = {}
        seen: set[str] = set()
        for number, line in enumerate(self._table.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip():
                continue
            try:
                item = _parse(line, seen)
            except (ValueError, TypeError) as error:
                where = f"{TABLE} line {number}"
                yield RawSample(f"line-{number}", where, None, problem=f"row-malformed: {error}")
                continue
            grouped.setdefault(item.pop("image"), []).append(item)
        for image, items in grouped.items():
            data = read_inside(self.path, image)
            problem = None if data is not None else "image-missing: the file is not there"
            yield RawSample(key_of_path(image), image, data, items=tuple(items), problem=problem)


def _parse(line: str, seen: set[str]) -> dict[str, Any]:
    item = json.loads(line)
    if not isinstance(item, dict):
        raise TypeError("is not an object")
    missing = [field for field in FIELDS if field not in item]
    if missing:
        raise ValueError(f"field {missing[0]} is missing; each line needs {', '.join(FIELDS)}")
    answers = item["answers"]
    if not isinstance(answers, list) or not all(isinstance(a, str) for a in answers) or not answers:
        raise ValueError("field answers must be a list of texts, at least one")
    if item["id"] in seen:
        raise ValueError(f"field id: {item['id']} occurs twice; give each question its own")
    seen.add(item["id"])
    return {field: item[field] for field in FIELDS}
