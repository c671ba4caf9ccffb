"""Files of captions: CSV, JSON, JSON lines, Parquet, or a folder of `.txt` files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa

from vila2.data.errors import DataError
from vila2.data.readers.arrow_rows import rows_of, schema_of
from vila2.data.readers.csv_rows import read_csv
from vila2.data.readers.json_rows import BadRow, parse_json, read_lines
from vila2.data.text import clean_name, decode, undecoded
from vila2.data.writers.csv_cells import unescape_cell

KEY_COLUMNS = (
    "key", "__key__", "file_name", "filename", "image", "image_path", "img_path", "path", "file",
    "id", "image_id", "source_id", "url", "image_url", "source",
)  # fmt: skip
CAPTION_COLUMNS = (
    "caption", "text", "txt", "alt_text", "output", "description", "sentence", "recaption",
)  # fmt: skip
LOOKS_LIKE = "a .csv, .tsv, .jsonl, .json or .parquet file, or a folder of .txt files"
_MAX_TEXT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class GivenCaption:
    """A caption, what its file calls the image, and its place there, such as `line 3`."""

    row: str
    key: str
    caption: str


def read_captions(
    path: Path, *, key_column: str = "", caption_column: str = ""
) -> Iterator[GivenCaption]:
    """Every row of the file in order; a missing caption is an empty one.

    The columns are those that are named, else the first of the usual names. In a folder each
    `.txt` is a row, and its path without `.txt` the key. Raises `DataError`, which names the row,
    for a row without a key, with values that are no text, or that is not UTF-8.
    """
    if not path.exists():
        raise DataError("does not exist", file=str(path), fix="Check the path")
    named = (key_column, caption_column)
    if path.is_dir():
        if key_column or caption_column:
            raise DataError(
                "a folder of .txt files has no columns", file=str(path), field="key_column",
                fix="Leave --key-column and --caption-column out",
            )  # fmt: skip
        return _checked(path, _sidecars(path))
    reader = _TABLES.get(path.suffix.lower())
    if reader is None:
        raise DataError("is no file of captions that is known", file=str(path),
                        fix=f"Give {LOOKS_LIKE}")  # fmt: skip
    return _checked(path, reader(path, named))


_Row = tuple[str, Any, Any]  # its place, the key and the caption
_Named = tuple[str, str]  # the columns that the user named; empty: find them


def _checked(path: Path, rows: Iterable[_Row]) -> Iterator[GivenCaption]:
    none = True
    for row, key, caption in rows:
        none = False
        if isinstance(key, dict):
            key = key.get("path")  # Hugging Face's image
        if isinstance(key, int) and not isinstance(key, bool):
            key = str(key)
        if not isinstance(key, str) or not clean_name(key).strip():
            raise _bad(path, row, "has no key", "key", "Say which image it is about, or drop it")
        if caption is not None and not isinstance(caption, str):
            told = f"the caption is {type(caption).__name__}, not text"
            raise _bad(path, row, told, "caption", "Give one text a row")
        if caption and (byte := undecoded(caption)):
            told = f"is not UTF-8 (byte {byte})"
            raise _bad(path, row, told, "caption", "Save the file as UTF-8")
        yield GivenCaption(row, clean_name(key), caption or "")
    if none:
        raise DataError("holds no caption", file=str(path), fix=f"Give {LOOKS_LIKE}")


def _csv(path: Path, named: _Named) -> Iterator[_Row]:
    header, rows = read_csv(path, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    key, caption = (header.index(name) for name in _columns(path, list(header), named))
    for row in rows:
        where = f"line {row.line}"
        if row.problem:
            told, _, fix = row.problem.partition("; ")
            raise _bad(path, where, told, "caption", fix[0].upper() + fix[1:])
        yield where, unescape_cell(row.cells[key]), unescape_cell(row.cells[caption])


def _json_lines(path: Path, named: _Named) -> Iterator[_Row]:
    return _objects(path, ((f"line {number}", row) for number, row in read_lines(path)), named)


def _json(path: Path, named: _Named) -> Iterator[_Row]:
    """A list of objects, or one object from keys to captions or to objects that hold them."""
    try:
        held = parse_json(decode(path.read_bytes()))
    except ValueError as error:
        fix = "Write it again, or as .jsonl"
        raise DataError(f"is not JSON ({error})", file=str(path), fix=fix) from error
    if isinstance(held, list):
        yield from _objects(path, ((f"row {n}", row) for n, row in enumerate(held, 1)), named)
    elif isinstance(held, dict):
        column = ""
        for number, (key, about) in enumerate(held.items(), 1):
            if isinstance(about, dict):
                column = column or _column(path, list(about), named[1], CAPTION_COLUMNS, "caption")
                about = about.get(column)
            yield f"entry {number}", key, about
    else:
        raise DataError("is neither a list nor an object", file=str(path), fix=f"Give {LOOKS_LIKE}")


def _objects(path: Path, rows: Iterable[tuple[str, Any]], named: _Named) -> Iterator[_Row]:
    columns: tuple[str, str] | None = None
    for where, row in rows:
        if isinstance(row, BadRow) or not isinstance(row, Mapping):
            told = str(row) if isinstance(row, BadRow) else "is not a JSON object"
            raise _bad(path, where, told, "", "Write one object with a key and a caption")
        columns = columns or _columns(path, list(row), named)
        yield where, row.get(columns[0]), row.get(columns[1])


def _parquet(path: Path, named: _Named) -> Iterator[_Row]:
    schema = schema_of(path)
    key, caption = _columns(path, [f.name for f in schema if _is_key(f.type)], named)
    nested = pa.types.is_struct(schema.field(key).type)
    columns = [f"{key}.path" if nested else key, caption]
    for number, row in enumerate(rows_of(path, columns), 1):
        yield f"row {number}", row[key], row[caption]


def _is_key(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return "path" in [kind.field(n).name for n in range(kind.num_fields)]
    return bool(
        pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_integer(kind)
    )


def _sidecars(folder: Path) -> Iterator[_Row]:
    for file in sorted(folder.rglob("*")):
        name = file.relative_to(folder).as_posix()
        hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
        if hidden or file.suffix.lower() != ".txt" or not file.is_file():
            continue
        with file.open("rb") as opened:
            text = opened.read(_MAX_TEXT_BYTES + 1)
        if len(text) > _MAX_TEXT_BYTES:
            raise _bad(folder, name, "has more than 1 MiB", "caption", "Shorten it")
        yield name, name[: -len(".txt")], decode(text)


_TABLES: dict[str, Callable[[Path, _Named], Iterator[_Row]]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".json": _json,
    ".parquet": _parquet,
}


def _columns(path: Path, given: list[str], named: _Named) -> tuple[str, str]:
    """The columns of keys and captions, which are two; those that are named are taken first."""
    key = _column(path, given, named[0], KEY_COLUMNS, "key") if named[0] else ""
    rest = [name for name in given if name != key]
    caption = _column(path, rest, named[1], CAPTION_COLUMNS, "caption")
    others = [name for name in rest if name != caption]
    return key or _column(path, others, "", KEY_COLUMNS, "key"), caption


def _column(path: Path, given: list[str], named: str, usual: tuple[str, ...], role: str) -> str:
    """The column of that role: the one that is named, else a usual one in whatever case."""
    lower = {name.lower().strip(): name for name in reversed(given)}
    wanted = [named] if named else usual
    found = next((name for name in wanted if name in given), None)
    found = found or next((lower[name.lower()] for name in wanted if name.lower() in lower), None)
    if found is None:
        held = ", ".join(map(str, given))[:300] or "none"
        raise DataError(
            f"has no column {named}" if named else f"has none of the columns {', '.join(usual)}",
            file=str(path),
            field=f"{role}_column",
            fix=f"Its columns of text are {held}: name one with --{role}-column",
        )
    return found


def _bad(path: Path, row: str, told: str, field: str, fix: str) -> DataError:
    return DataError(f"{row} {told}", file=str(path), field=field, fix=fix)
