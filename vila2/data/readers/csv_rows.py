"""Rows of CSV files: a row that is not well formed is a problem of its own and of no other row.

Python's reader takes a quote that is never closed for a cell that goes on to the end of the file,
and drops quotes that are not doubled. Here such a row is malformed, and the next line begins anew.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from vila2.data.errors import DataError
from vila2.data.text import open_text

# A cell of a caption may have several lines; a quote that swallows more than these was not closed.
_MAX_LINES = 1_000
_QUOTE = 'write a " inside a quoted cell twice, and close every quote'


@dataclass(frozen=True, slots=True)
class CsvRow:
    """A row: the number of its first line, and its cells; or what is wrong with it."""

    line: int
    cells: tuple[str, ...] = ()
    problem: str = ""


def read_csv(
    path: Path,
    *,
    delimiter: str = ",",
    encoding: str = "",
    begins_row: Callable[[Sequence[str]], bool] = lambda _: False,
) -> tuple[tuple[str, ...], Iterator[CsvRow]]:
    """The header of a file, and its other rows; empty lines are left out.

    `begins_row` says of the cells of a line whether they are surely a row, which no quoted cell
    of an earlier line may contain. Raises `DataError` for a header that is no CSV or names a column
    twice, and for a file that is not text in `encoding`.
    """
    rows = parse_csv(_text_lines(path, encoding), delimiter=delimiter, begins_row=begins_row)
    first = next(rows, CsvRow(1))
    if first.problem:
        raise DataError(
            f"line {first.line} {first.problem.partition('; ')[0]}", file=str(path), fix=_QUOTE
        )
    header = first.cells
    repeated = next((name for name in header if name and header.count(name) > 1), "")
    if repeated:
        raise DataError(
            f"has the column {repeated!r} twice",
            file=str(path),
            field=repeated[:100],
            fix="Give each column a name of its own",
        )
    return header, (_fitted(row, len(header)) for row in rows)


def parse_csv(
    lines: Iterable[str],
    *,
    delimiter: str = ",",
    begins_row: Callable[[Sequence[str]], bool] = lambda _: False,
) -> Iterator[CsvRow]:
    """The rows that are not empty, of lines with their ends. Pure; holds a row's lines at most."""
    source, ahead, number = iter(lines), list[str](), 1
    while True:
        cells, taken, problem = _record(ahead, source, delimiter, begins_row)
        if not taken:
            return
        if problem:
            yield CsvRow(number, problem=problem)
        elif cells:
            yield CsvRow(number, tuple(cells))
        number += taken
        del ahead[:taken]


def _record(
    ahead: list[str],
    source: Iterator[str],
    delimiter: str,
    begins_row: Callable[[Sequence[str]], bool],
) -> tuple[list[str], int, str]:
    """The next record's cells, its number of lines, and its problem; `ahead` gets what is read."""
    taken = 0

    def given() -> Iterator[str]:
        nonlocal taken
        while taken < _MAX_LINES:
            if taken == len(ahead):
                line = next(source, None)
                if line is None:
                    return
                ahead.append(line)
            taken += 1
            line = ahead[taken - 1]
            if taken > 1 and begins_row(next(csv.reader([line], delimiter=delimiter), [])):
                raise csv.Error("a quoted cell goes on into the next row")
            yield line

    try:
        cells = next(csv.reader(given(), delimiter=delimiter, strict=True), [])
    except csv.Error as error:
        return [], 1, f"is not CSV ({error}); {_QUOTE}"
    return cells, taken, ""


def _text_lines(path: Path, encoding: str) -> Iterator[str]:
    with open_text(path, encoding) as lines:
        yield from lines


def _fitted(row: CsvRow, columns: int) -> CsvRow:
    if row.problem or len(row.cells) == columns:
        return row
    told = f"has {len(row.cells)} cells, the first line has {columns}"
    return CsvRow(row.line, problem=f'{told}; put captions with commas into "quotes"')
