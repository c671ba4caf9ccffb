"""Rows of JSON and JSONL files; one bad row does not affect the others."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vila2.data.errors import DataError
from vila2.data.text import decode, open_text


class BadRow(ValueError):
    """A row that does not match its format; the message names the field."""


def parse_json(text: str | bytes) -> Any:
    """`json.loads`, with `ValueError` also for nesting that would exhaust the stack."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def read_lines(path: Path, encoding: str = "") -> Iterator[tuple[int, Any]]:
    """Line numbers and values of a JSONL file; a line that is not JSON gives a `BadRow`.

    Bytes that are not text in `encoding` (UTF-8) are kept as surrogates, which admission refuses.
    """
    with open_text(path, encoding) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                value = parse_json(line)
            except ValueError as error:
                value = BadRow(f"the line is not JSON ({error})")
            yield number, value


def read_list(path: Path, encoding: str = "") -> list[Any]:
    """The rows of a file that holds one JSON list."""
    try:
        rows = parse_json(decode(path.read_bytes(), encoding))
    except ValueError as error:
        raise DataError(
            f"is not JSON ({error})", file=str(path), fix="Write it again, or as .jsonl"
        ) from error
    if not isinstance(rows, list):
        raise DataError(
            f"holds {type(rows).__name__} instead of a list of rows",
            file=str(path),
            fix="Put the rows into one JSON list",
        )
    return rows


def text_of(row: dict[str, Any], field: str) -> str:
    """The non-empty text of a field, or `BadRow`."""
    value = row.get(field)
    if not isinstance(value, str) or not value.strip():
        raise BadRow(f"field {field} must be a text that is not empty")
    return value
