"""LLaVA's conversation files: a JSON list, or JSONL, beside a folder of pictures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.readers.base import Reader, read_inside
from vila2.data.readers.keys import key_of_path
from vila2.data.sample import RawSample, Turn

TABLE = "conversations.json"


class LlavaReader(Reader):
    """Reads `[{"id", "image", "conversations": [{"from", "value"}, ...]}, ...]`.

    Rows that name one picture become one sample with all their turns. Turns alternate human and
    gpt; the `<image>` marker is taken out, since every sample has exactly one picture.
    """

    looks_like = "a folder with conversations.json (LLaVA's format) and the pictures it names"

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._table = path / TABLE if path.is_dir() else path
        self._root = self._table.parent
        if not self._table.is_file():
            raise DataError(
                f"has no {TABLE}", file=str(path), fix="Give the folder or the JSON file itself"
            )
        self._rows = _load(self._table)

    def count(self) -> int | None:
        """Number of rows, which is at least the number of samples."""
        return len(self._rows)

    def read(self) -> Iterator[RawSample]:
        """One sample per picture, in order of first mention; malformed rows as problems."""
        grouped: dict[str, list[Turn]] = {}
        for number, row in enumerate(self._rows):
            try:
                image, turns = _parse(row)
            except (KeyError, TypeError, ValueError) as error:
                where = f"{self._table.name} row {number}"
                yield RawSample(f"row-{number}", where, None, problem=f"row-malformed: {error}")
                continue
            grouped.setdefault(image, []).extend(turns)
        for image, turns in grouped.items():
            data = read_inside(self._root, image)
            problem = None if data is not None else "image-missing: the file is not there"
            yield RawSample(key_of_path(image), image, data, turns=tuple(turns), problem=problem)


def _load(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        rows = (
            [json.loads(line) for line in text.splitlines() if line.strip()]
            if path.suffix == ".jsonl"
            else json.loads(text)
        )
    except ValueError as error:
        raise DataError(f"is not JSON ({error})", file=str(path), fix="Write it again") from error
    if not isinstance(rows, list):
        raise DataError("is not a list of rows", file=str(path), fix="See LLaVA's data format")
    return rows


def _parse(row: Any) -> tuple[str, list[Turn]]:
    if not isinstance(row, dict):
        raise TypeError("is not an object")
    image, messages = row.get("image"), row.get("conversations")
    if not isinstance(image, str) or not image:
        raise ValueError("field image must name a picture file")
    if not isinstance(messages, list) or not messages or len(messages) % 2:
        raise ValueError("field conversations must hold human and gpt messages in pairs")
    turns = []
    for asked, answered in zip(messages[::2], messages[1::2], strict=True):
        if asked.get("from") != "human" or answered.get("from") != "gpt":
            raise ValueError("field conversations must alternate from human to gpt")
        question = str(asked["value"]).replace("<image>", "").strip()
        turns.append(Turn(question, str(answered["value"]).strip()))
    return image, turns
