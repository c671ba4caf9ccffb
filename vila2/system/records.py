"""The rows of a table that is too wide, each as a heading and its fields below it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rich.cells import cell_len
from rich.console import RenderableType
from rich.text import Text

_INDENT, _BETWEEN = "  ", "   "
# A heading of at most so many columns, such as a number, shares its line with the first fields.
_SHORT = 8


def records(
    headings: Sequence[str], rows: Iterable[Sequence[RenderableType]], *, width: int
) -> Iterator[Text]:
    """Lines of at most `width` columns; a field is broken only if it alone is longer.

    The first column is the heading. Cells that are drawn, such as bars, are left out.
    """
    for row in rows:
        first, *cells = row
        named = zip(headings[1:], cells, strict=True)
        fields = [_field(name, cell) for name, cell in named if _has_text(cell)]
        heading = first if isinstance(first, Text) else Text()
        if cell_len(heading.plain) > _SHORT:
            yield heading
            heading = Text(_INDENT)
        yield from _filled(heading, fields, width)


def _has_text(cell: RenderableType) -> bool:
    return isinstance(cell, Text) and bool(cell.plain.strip())


def _field(name: str, cell: RenderableType) -> Text:
    assert isinstance(cell, Text)
    value = Text(" ").join(cell.split("\n")) if "\n" in cell.plain else cell
    return Text.assemble((f"{name} ", "dim"), value) if name else value


def _filled(line: Text, fields: Sequence[Text], width: int) -> Iterator[Text]:
    for field in fields:
        gap = "" if line.plain == _INDENT else _BETWEEN
        if gap and cell_len(line.plain + gap + field.plain) > width:
            yield line
            line, gap = Text(_INDENT), ""
        line = Text.assemble(line, gap, field)
    if line.plain != _INDENT:
        yield line
