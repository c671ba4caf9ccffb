"""Parquet files and Hugging Face `datasets` folders: images' bytes, or paths beside the table."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.readers.arrow_rows import count_of, rows_of, schema_of
from vila2.data.readers.base import Reader, ReadOptions, is_pattern
from vila2.data.readers.files.image_files import ImageFiles, Loaded
from vila2.data.readers.files.splits import files_of_split
from vila2.data.readers.files.tree import Tree, entries_of, inside, linked_folders
from vila2.data.readers.json_rows import BadRow
from vila2.data.readers.keys import Keys, ids_beside
from vila2.data.readers.names import is_hidden
from vila2.data.readers.parquet.columns import choose_columns, has_paths, is_path
from vila2.data.sample import RawSample, Turn
from vila2.system.numbers import counted

_SUFFIXES = (".parquet", ".arrow")


class ParquetReader(Reader):
    """Reads a Parquet file, a folder of them, or what `datasets` saved, in name order.

    An image is a binary column, a path relative to its table, or the struct of `bytes` and `path`
    that Hugging Face's `Image` feature writes; its column is the one that `options` name, else the
    first of the usual names. A text is a string, or a list of them. Columns `turns` (list of
    question and answer) are taken as conversations. The key's column and the image's `path` are the
    sample's `source_ids`.
    """

    fields = ("image_field", "caption_field", "split")
    looks_like = "a .parquet file, or a folder of .parquet or .arrow files, with image and caption"

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        super().__init__(path, options)
        self._files = files_of_split(path, _files(path), self.options.split)
        if not self._files:
            raise DataError(
                "holds no .parquet or .arrow file",
                file=str(path),
                fix="Give the file, or the folder of a dataset that was saved with its images",
            )
        self._root = path if path.is_dir() else path.parent
        self._images = ImageFiles(self._root)
        self._columns: dict[Path, dict[str, str]] = {}
        self._damaged: dict[Path, DataError] = {}
        for file in self._files:
            try:
                schema = schema_of(file)
            except DataError as error:
                self._damaged[file] = error
            else:
                self._columns[file] = choose_columns(file, schema, self.options)
        if not self._columns:
            raise next(iter(self._damaged.values()))

    def tree(self) -> Tree:
        """Of a file, also the images beside it that it names."""
        held = super().tree()
        if self.path.is_dir():
            return held
        found = {place for file in self._columns for place in self._places(file)}
        files = [entry.name for entry in held.entries]
        names = [*files, *sorted(found - set(files))]
        return replace(entries_of(self._root, names, self.follows), entry=held.entry)

    def follows(self, name: str, path: Path) -> bool:
        """Links to tables, and to images below the folder."""
        return path.suffix in _SUFFIXES or inside(self._root, path)

    def count(self) -> int | None:
        """Number of rows, if the files have footers, else `None`."""
        counts = [count_of(file) for file in self._files]
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    def read(self) -> Iterator[RawSample]:
        """Rows in order; a file's unreadable rest as one problem."""
        keys = Keys()
        if self.path.is_dir():
            yield from linked_folders(self.path, keys)
        for file in self._files:
            name = self._name_of(file)
            columns, number = self._columns.get(file, {}), 0
            try:
                if file in self._damaged:
                    raise self._damaged[file]
                for row in rows_of(file, list(dict.fromkeys(columns.values()))):
                    yield self._sample(row, columns, file, number, keys)
                    number += 1
            except DataError as error:
                problem = (
                    f"file-damaged: after {counted(number, 'row')}: {error}; the rest is not read"
                )
                yield RawSample(keys.of(file.stem, source=name), name, None, problem=problem)

    def _sample(
        self, row: dict[str, Any], columns: dict[str, str], file: Path, number: int, keys: Keys
    ) -> RawSample:
        where = f"{self._name_of(file)} row {number}"
        loaded = self._image(row[columns["image"]], file)
        image, problem = loaded.data, loaded.problem
        held = row[columns["image"]]
        path = held.get("path") if isinstance(held, dict) else held
        path = path if isinstance(path, str) else None
        named = row.get(columns.get("key", ""))
        plain = named if named not in (None, "") else loaded.name
        if loaded.name and plain in (path, loaded.name):
            plain = posixpath.splitext(plain)[0]
        # A key may be repeated in another file: the row's position distinguishes them.
        key = keys.of(str(plain or where), source=where)
        source = row.get(columns.get("source", "")) or loaded.name or where
        listed = row.get(columns.get("ids", "")) or (named, path)
        texts = _texts(row.get(columns.get("caption", "")))
        texts += _texts(row.get(columns.get("more", "")))
        try:
            turns = _turns(row.get(columns.get("turns", "")))
        except BadRow as error:
            turns, problem = (), problem or f"row-malformed: {error}"
        if not texts and not turns and not self.options.captionless:
            problem = problem or "caption-missing: the row has no text; give it one or drop it"
        return RawSample(
            key, str(source), image, texts[0] if texts else None, turns=turns, problem=problem,
            source_ids=ids_beside(key, *listed), more_captions=tuple(texts[1:]),
        )  # fmt: skip

    def _image(self, held: Any, file: Path) -> Loaded:
        """The image's bytes; by its path only if the row has none. `name` is empty for bytes."""
        data = held.get("bytes") if isinstance(held, dict) else held
        if data is not None and not isinstance(data, str):
            return Loaded("", bytes(data))
        path = held.get("path") if isinstance(held, dict) else data
        if not path:
            return Loaded("", problem="image-missing: the row holds no image; add it or drop it")
        if "://" in path:
            problem = "image-is-address: the row holds a web address; use format urls"
            return Loaded("", problem=problem)
        loaded = self._images.load(self._beside(path, file))
        return loaded if loaded.data is not None else self._images.load(path)

    def _beside(self, path: str, file: Path) -> str:
        """A path relative to its table, from the folder that is read."""
        folder = file.relative_to(self._root).parent.as_posix()
        return path if folder == "." else posixpath.join(folder, path)

    def _places(self, file: Path) -> Iterator[str]:
        """The files that a table names and that are there, by their paths below the folder."""
        image = self._columns[file]["image"]
        nested = not is_path(schema_of(file).field(image).type)
        if nested and not (
            file.suffix == ".parquet" and has_paths(schema_of(file).field(image).type)
        ):
            return
        try:
            for row in rows_of(file, [f"{image}.path" if nested else image]):
                path = row[image]["path"] if nested and row[image] else row[image]
                place = self._images.place(path) if isinstance(path, str) and path else None
                if place is not None:
                    yield place
        except DataError:
            return  # reading tells what is wrong with the file

    def _name_of(self, file: Path) -> str:
        return file.relative_to(self.path).as_posix() if self.path.is_dir() else file.name


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if path.suffix in _SUFFIXES else []
    if is_pattern(path) and not path.exists():
        return sorted(f for f in path.parent.glob(path.name) if f.suffix in _SUFFIXES)
    files = [f for f in path.rglob("*") if f.suffix in _SUFFIXES and f.is_file()]
    # The cache files that `datasets` leaves beside a saved dataset repeat its rows.
    kept = [f for f in files if not f.name.startswith(("cache-", "tmp"))]
    kept = [f for f in kept if not is_hidden(f.relative_to(path).as_posix())]
    return sorted(kept)


def _texts(value: Any) -> list[str]:
    if isinstance(value, list):
        return [text for text in value if isinstance(text, str) and text.strip()]
    return [value] if isinstance(value, str) else []


def _turns(value: Any) -> tuple[Turn, ...]:
    made = []
    for turn in value or ():
        question, answer = (turn or {}).get("question"), (turn or {}).get("answer")
        if not isinstance(question, str) or not isinstance(answer, str):
            raise BadRow("field turns must hold questions and answers as text")
        made.append(Turn(question, answer))
    return tuple(made)
