"""Parquet files and Hugging Face `datasets` folders that hold the images' bytes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from vila2.data.errors import DataError
from vila2.data.readers.arrow_rows import count_of, rows_of, schema_of
from vila2.data.readers.base import Reader, ReadOptions, is_pattern
from vila2.data.readers.files.splits import files_of_split
from vila2.data.readers.files.tree import linked_folders
from vila2.data.readers.json_rows import BadRow
from vila2.data.readers.keys import Keys, ids_beside
from vila2.data.readers.names import is_hidden
from vila2.data.sample import RawSample, Turn

IMAGE_FIELDS = ("image", "jpg", "jpeg", "png", "webp", "img", "image", "image_bytes", "bytes")
CAPTION_FIELDS = (
    "caption", "text", "txt", "alt_text", "TEXT", "sentence", "description", "captions",
    "sentences", "raw_caption",
)  # fmt: skip
KEY_FIELDS = ("key", "__key__", "id", "image_id", "filename", "file_name")
SOURCE_FIELDS = ("source", "url", "URL", "image_url")
_SUFFIXES = (".parquet", ".arrow")


class ParquetReader(Reader):
    """Reads a Parquet file, a folder of them, or what `datasets` saved, in name order.

    An image is a binary column or the struct of `bytes` and `path` that Hugging Face's `Image`
    feature writes; its column is the one that `options` name, else the first of the usual names. A
    text is a string, or a list of them. Columns `turns` (list of question and answer) are taken as
    conversations. The key's column and the image's `path` are the sample's `source_ids`.
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
        self._columns: dict[Path, dict[str, str]] = {}
        self._damaged: dict[Path, DataError] = {}
        for file in self._files:
            try:
                schema = schema_of(file)
            except DataError as error:
                self._damaged[file] = error
            else:
                self._columns[file] = self._choose(file, schema)
        if not self._columns:
            raise next(iter(self._damaged.values()))

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
            name = file.relative_to(self.path).as_posix() if self.path.is_dir() else file.name
            columns, number = self._columns.get(file, {}), 0
            try:
                if file in self._damaged:
                    raise self._damaged[file]
                for row in rows_of(file, list(dict.fromkeys(columns.values()))):
                    yield from self._samples(row, columns, name, number, keys)
                    number += 1
            except DataError as error:
                problem = f"file-damaged: after {number} rows: {error}; the rest is not read"
                yield RawSample(keys.of(file.stem, source=name), name, None, problem=problem)

    def _choose(self, file: Path, schema: pa.Schema) -> dict[str, str]:
        """Map roles to columns; raises `DataError` if a required one is missing or mistyped."""
        given, options = set(schema.names), self.options
        image = _pick(options.image_field, IMAGE_FIELDS, given, file, "image")
        if image is None or not _is_image(schema.field(image).type):
            held = ", ".join(f"{field.name}: {field.type}" for field in list(schema)[:30])
            raise DataError(
                f"has no column of images' bytes (it has {held[:600]})",
                file=str(file),
                field=image or "image",
                fix="Name the binary column with --image-field, or use format urls for addresses",
            )
        chosen = {"image": image}
        caption = _pick(options.caption_field, CAPTION_FIELDS, given, file, "caption")
        if caption is not None and not _is_text(schema.field(caption).type):
            raise DataError(
                f"column {caption} holds {schema.field(caption).type}, not text",
                file=str(file),
                field=caption,
                fix="Name the column of captions with --caption-field",
            )
        turns = "turns" in given and _is_turns(schema.field("turns").type)
        if caption is None and not turns and not options.captionless:
            raise DataError(
                f"has none of the columns {', '.join(CAPTION_FIELDS)}",
                file=str(file),
                field="caption",
                fix="Name the column of captions with --caption-field, or say --captionless",
            )
        if caption is not None:
            chosen["caption"] = caption
        if turns:
            chosen["turns"] = "turns"
        if "source_ids" in given and _is_names(schema.field("source_ids").type):
            chosen["ids"] = "source_ids"
        for role, names in (("key", KEY_FIELDS), ("source", SOURCE_FIELDS)):
            found = next((n for n in names if n in given and _is_name(schema.field(n).type)), None)
            if found is not None:
                chosen[role] = found
        return chosen

    def _samples(
        self, row: dict[str, Any], columns: dict[str, str], file: str, number: int, keys: Keys
    ) -> Iterator[RawSample]:
        where = f"{file} row {number}"
        named = row.get(columns.get("key", ""))
        # A key may be repeated in another file: the row's position distinguishes them.
        key = keys.of(str(named) if named not in (None, "") else where, source=where)
        source = row.get(columns.get("source", "")) or where
        held = row[columns["image"]]
        image, problem = _image(held)
        path = held.get("path") if isinstance(held, dict) else None
        listed = row.get(columns.get("ids", "")) or (named, path)
        texts = _texts(row.get(columns.get("caption", "")))
        try:
            turns = _turns(row.get(columns.get("turns", "")))
        except BadRow as error:
            turns, problem = (), problem or f"row-malformed: {error}"
        if not texts and not turns and not self.options.captionless:
            problem = problem or "caption-missing: the row has no text; give it one or drop it"
        caption = texts[0] if texts else None
        yield RawSample(
            key, str(source), image, caption, turns=turns, problem=problem,
            source_ids=ids_beside(key, *listed), more_captions=tuple(texts[1:]),
        )  # fmt: skip


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


def _pick(
    wanted: str, usual: tuple[str, ...], given: set[str], file: Path, role: str
) -> str | None:
    if not wanted:
        return next((name for name in usual if name in given), None)
    if wanted not in given:
        raise DataError(
            f"has no column {wanted!r}",
            file=str(file),
            field=role,
            fix=f"It has {', '.join(sorted(given))[:600]}",
        )
    return wanted


def _is_image(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        names = [kind.field(n).name for n in range(kind.num_fields)]
        return "bytes" in names and _is_image(kind.field(names.index("bytes")).type)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _is_name(kind.value_type) and not pa.types.is_integer(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _is_name(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    )


def _is_names(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) and _is_name(kind.value_type))


def _is_turns(kind: pa.DataType) -> bool:
    if not (pa.types.is_list(kind) and pa.types.is_struct(kind.value_type)):
        return False
    held = kind.value_type
    return {"question", "answer"} <= {held.field(n).name for n in range(held.num_fields)}


def _image(value: Any) -> tuple[bytes | None, str | None]:
    data = value.get("bytes") if isinstance(value, dict) else value
    if data is None:
        path = value.get("path") if isinstance(value, dict) else None
        told = f"only the path {path!r}" if path else "no image"
        return None, f"image-missing: the row holds {told}; save the dataset with the bytes"
    return bytes(data), None


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
