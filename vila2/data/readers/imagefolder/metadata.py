"""Rows of `metadata.csv`, `metadata.jsonl` and `metadata.parquet`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.readers.arrow_rows import rows_of, schema_of
from vila2.data.readers.base import ReadOptions
from vila2.data.readers.csv_rows import read_csv
from vila2.data.readers.json_rows import BadRow, read_lines
from vila2.data.readers.parquet import CAPTION_FIELDS

NAME_FIELD, KEY_FIELD = "file_name", "key"


@dataclass(frozen=True, slots=True)
class MetadataRow:
    """A row: its place in the table, the image's name as written, its texts, or its problem.

    `key` is what the table calls it, in a column of that name; it may be empty.
    """

    where: str
    name: str = ""
    texts: tuple[str, ...] = ()
    key: str = ""
    problem: str = ""


def metadata_rows(
    table: Path, options: ReadOptions, is_image: Callable[[str], bool]
) -> Iterator[MetadataRow]:
    """The rows of a table, in order; raises `DataError` if it lacks a column.

    `is_image` says whether a cell names an image: a CSV row that begins with one is no part of an
    earlier row's text. Without the column of captions every row is one without a text, if the
    options admit those.
    """
    columns: tuple[str, str] | None = None
    for number, row in _ROWS[table.suffix](table, options, is_image):
        where = f"{table.name} {'row' if table.suffix == '.parquet' else 'line'} {number}"
        if isinstance(row, BadRow) or not isinstance(row, Mapping):
            told = str(row) if isinstance(row, BadRow) else "the line is not a JSON object"
            yield MetadataRow(where, problem=told)
            continue
        columns = columns or _columns(table, list(row), options)
        yield _row(where, row, *columns)


def _row(where: str, row: Mapping[str, Any], named: str, caption: str) -> MetadataRow:
    name, given = row.get(named), row.get(caption)
    if not isinstance(name, str) or not name.strip():
        return MetadataRow(where, problem=f"field {named} must name an image")
    listed = given if isinstance(given, list) else [] if given is None else [given]
    if not all(isinstance(text, str) for text in listed):
        return MetadataRow(where, problem=f"field {caption} must hold text")
    key = row.get(KEY_FIELD)
    texts = tuple(text for text in listed if text.strip())
    return MetadataRow(where, name, texts, key if isinstance(key, str) else "")


def _columns(table: Path, given: Sequence[str], options: ReadOptions) -> tuple[str, str]:
    """The columns of names and captions; the latter is empty if there is none."""
    others = [name for name in given if name.endswith(f"_{NAME_FIELD}")]
    usual = (NAME_FIELD, *(others if len(others) == 1 else ()))
    named = _chosen(table, given, options.image_field, usual, "image")
    if named is None:
        raise _no_column(table, given, NAME_FIELD, "image")
    caption = _chosen(table, given, options.caption_field, CAPTION_FIELDS, "caption")
    if caption is None and not options.captionless:
        raise _no_column(table, given, "caption", "caption")
    return named, caption or ""


def _chosen(
    table: Path, given: Sequence[str], wanted: str, usual: Sequence[str], role: str
) -> str | None:
    if wanted and wanted not in given:
        raise _no_column(table, given, wanted, role)
    return wanted or next((name for name in usual if name in given), None)


def _no_column(table: Path, given: Sequence[str], wanted: str, role: str) -> DataError:
    or_none = ", or say --captionless" if role == "caption" else ""
    return DataError(
        f"has no column {wanted} (it has {', '.join(map(str, given))[:300]})",
        file=str(table),
        field=role,
        fix=f"Name it with --{role}-field{or_none}",
    )


_Rows = Iterator[tuple[int, Any]]


def _csv(table: Path, options: ReadOptions, is_image: Callable[[str], bool]) -> _Rows:
    at = -1

    def begins_row(cells: Sequence[str]) -> bool:
        return 0 <= at < len(cells) > 1 and is_image(cells[at])

    header, rows = read_csv(table, encoding=options.encoding, begins_row=begins_row)
    at = header.index(_columns(table, header, options)[0])
    for row in rows:
        cells = dict(zip(header, row.cells, strict=not row.problem))
        yield row.line, BadRow(row.problem) if row.problem else cells


def _json(table: Path, options: ReadOptions, _: Callable[[str], bool]) -> _Rows:
    return read_lines(table, options.encoding)


def _parquet(table: Path, options: ReadOptions, _: Callable[[str], bool]) -> _Rows:
    given = schema_of(table).names
    columns = [*_columns(table, given, options), *({KEY_FIELD} & set(given))]
    yield from enumerate(rows_of(table, list(dict.fromkeys(filter(None, columns)))))


_ROWS = {".csv": _csv, ".jsonl": _json, ".parquet": _parquet}
