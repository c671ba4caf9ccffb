"""LLaVA's conversation files: a JSON list, or JSONL, beside a folder of images."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.readers.base import Reader, ReadOptions
from vila2.data.readers.files.image_files import ImageFiles
from vila2.data.readers.files.tree import Tree, entries_of, inside
from vila2.data.readers.json_rows import BadRow, read_lines, read_list, text_of
from vila2.data.readers.keys import Keys, ids_beside
from vila2.data.sample import RawSample, Turn

TABLES = ("conversations.json", "conversations.jsonl")
_MARKER = "<image>"
_ASKS, _ANSWERS = {"human", "user"}, {"gpt", "assistant"}


class LlavaReader(Reader):
    """Reads `[{"id", "image", "conversations": [{"from", "value"}, ...]}, ...]`.

    Rows that name one image become one sample with all their turns and ids. Turns alternate human
    and gpt; the `<image>` marker is removed, since every sample has exactly one image.
    """

    fields = ("encoding",)
    looks_like = "a folder with conversations.json (LLaVA's format) and the images it names"

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path, options)
        held = [path / name for name in TABLES if (path / name).is_file()]
        if path.is_dir() and not held:
            raise DataError(
                f"has no {TABLES[0]}",
                file=str(path),
                fix="Give the JSON or JSONL file itself, or name it so",
            )
        self._table = held[0] if held else path
        lines = self._table.suffix == ".jsonl"
        self._rows: list[tuple[int, Any]] = (
            list(read_lines(self._table, self.options.encoding))
            if lines
            else list(enumerate(read_list(self._table, self.options.encoding)))
        )
        if not self._rows:
            raise DataError("holds no row", file=str(self._table), fix="Write some conversations")

    def tree(self) -> Tree:
        """Of a file, also the images beside it that it names."""
        if self.path.is_dir():
            return super().tree()
        files, root = ImageFiles(self._table.parent), self._table.parent
        named = [row["image"] for _, row in self._rows if isinstance(row, dict) and "image" in row]
        held = [files.place(name) for name in named if isinstance(name, str)]
        names = [self._table.name, *(name for name in held if name is not None)]
        return replace(entries_of(root, names, self.follows), entry=self._table.name)

    def follows(self, name: str, path: Path) -> bool:
        """Only links to files below the folder."""
        return inside(self._table.parent, path)

    def count(self) -> int | None:
        """Number of rows, which is at least the number of samples."""
        return len(self._rows)

    def read(self) -> Iterator[RawSample]:
        """Malformed rows as problems, then one sample per image in order of first mention."""
        grouped: dict[str, list[Turn]] = {}
        ids: dict[str, list[object]] = {}
        for number, row in self._rows:
            where = f"{self._table.name} row {number}"
            if isinstance(row, dict) and "image" not in row:
                textual = "row-without-image: a conversation without an image is not used"
                yield RawSample(f"row-{number}", where, None, problem=textual)
                continue
            try:
                image, turns = _parse(row)
            except BadRow as error:
                yield RawSample(f"row-{number}", where, None, problem=f"row-malformed: {error}")
                continue
            grouped.setdefault(posixpath.normpath(image), []).extend(turns)
            ids.setdefault(posixpath.normpath(image), []).append(_id(row))
        keys, files = Keys(), ImageFiles(self._table.parent)
        for image, turns in grouped.items():
            loaded = files.load(image)
            key = keys.of_file(image)
            yield RawSample(
                key, image, loaded.data, turns=tuple(turns), problem=loaded.problem,
                source_ids=ids_beside(key, *ids[image]),
            )  # fmt: skip


def _id(row: dict[str, Any]) -> str | int | None:
    found = row.get("id")
    return found if isinstance(found, str | int) else None


def _parse(row: Any) -> tuple[str, list[Turn]]:
    if isinstance(row, BadRow):
        raise row
    if not isinstance(row, dict):
        raise BadRow("the row is not a JSON object")
    messages = row.get("conversations")
    if not isinstance(messages, list) or not messages or len(messages) % 2:
        raise BadRow("field conversations must hold human and gpt messages in pairs")
    if not all(isinstance(message, dict) for message in messages):
        raise BadRow('field conversations must hold objects with "from" and "value"')
    # Some tools repeat the marker in each question; two in one ask about two images.
    most = max(str(message.get("value")).count(_MARKER) for message in messages[::2])
    if most > 1:
        raise BadRow(f"field conversations has {most} {_MARKER} markers in one question")
    turns = []
    for asked, answered in zip(messages[::2], messages[1::2], strict=True):
        if asked.get("from") not in _ASKS or answered.get("from") not in _ANSWERS:
            raise BadRow("field conversations must alternate from human to gpt")
        question = text_of(asked, "value").replace(_MARKER, "").strip()
        turns.append(Turn(question, text_of(answered, "value").strip()))
    return text_of(row, "image"), turns
