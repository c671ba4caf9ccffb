"""Output of commands. Untrusted text is never interpreted as markup or terminal codes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic_core import to_json
from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.segment import Segment
from rich.table import Column, Table
from rich.text import Text

from vila2.system.records import records

# Terminal commands (C0, C1, DEL), lone surrogates, and characters that are invisible or change the
# direction of what follows. The joiners U+200C and U+200D stay: scripts and emoji need them.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# Width in columns of output into a pipe; a wider table is not cut.
_PIPED = 200
# A longer word, such as an address in a message, may be broken.
_WORD = 48
# Blanks between two columns of a table.
_GAP = 2


def plain(text: str) -> str:
    """Text safe for a terminal: each control character becomes U+FFFD."""
    return _UNSAFE.sub("\N{REPLACEMENT CHARACTER}", text.replace("\r\n", "\n"))


class _Terminal(Console):
    """A console without markup that replaces all control characters."""

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)
        if width is None and not self.is_terminal:
            self.width = _PIPED

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or not _UNSAFE.search(segment.text):
                yield segment
            else:
                yield segment._replace(text=plain(segment.text))


def console() -> Console:
    """The console on stdout, for results."""
    return _Terminal()


def errors() -> Console:
    """The console on stderr, for messages to people."""
    return _Terminal(stderr=True)


def bold(text: str) -> Text:
    """Text in bold."""
    return Text(plain(text), style="bold")


def dim(text: str) -> Text:
    """Dimmed text."""
    return Text(plain(text), style="dim")


def sentence(*parts: str | Text, style: str = "") -> Text:
    """Join several parts into one text."""
    return Text.assemble(*_texts(parts), style=style)


def say(*parts: str | Text, style: str = "") -> None:
    """Print a sentence; long ones are not wrapped, so that they can be copied."""
    console().print(sentence(*parts, style=style), soft_wrap=True)


class _Table(Table):
    """A table whose words stay whole; if they do not fit, each row is shown as a record.

    Words are names and ids, which a user copies. Only a table without headings breaks them.
    """

    def __init__(self, **layout: Any) -> None:
        super().__init__(**layout)
        self.words: list[int] = []
        self.texts: list[list[Any]] = []

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        for most in (_WORD, 24, 16, 12, 8, 1):
            least = [self.words[0], *(min(words, most) for words in self.words[1:])]
            if sum(least) + _GAP * len(least) <= options.max_width:
                break
            if self.show_header and self.texts:
                headings = [str(column.header) for column in self.columns]
                return iter(records(headings, self.texts, width=options.max_width))
        for column, width in zip(self.columns, least, strict=True):
            column.min_width = width
        return super().__rich_console__(console, options)


def table(
    *columns: str | Column,
    rows: Iterable[Sequence[RenderableType]],
    title: str = "",
    **layout: Any,
) -> Table:
    """A table in which every string is plain text; empty columns are omitted.

    Text is wrapped between words. If a terminal has no room for them, every row is shown as a
    record, so that no id is cut.
    """
    cells = [_texts(row) for row in rows]
    compact: dict[str, Any] = {
        "box": box.SIMPLE_HEAD, "show_edge": False, "padding": (0, 1, 0, 0),
    }  # fmt: skip
    made = _Table(
        title=Text(title) if title else None, title_justify="left", **{**compact, **layout}
    )
    kept = [
        place
        for place in range(len(columns))
        if not cells or any(row[place] != Text() for row in cells)
    ]
    for place in kept:
        given, held = columns[place], [row[place] for row in cells]
        column = Column(given) if isinstance(given, str) else given
        header = Text(plain(str(column.header)))
        made.add_column(
            header,
            justify=column.justify,
            no_wrap=column.no_wrap or place == 0,
            overflow="fold",
        )
        made.words.append(_longest_word([header, *held], whole=place == 0))
    for row in cells:
        made.texts.append([row[place] for place in kept])
        made.add_row(*made.texts[-1])
    if not cells:
        made.add_row(dim("(none)"))
    return made


def number(heading: str) -> Column:
    """A column of numbers."""
    return Column(heading, justify="right")


def stack(*parts: RenderableType) -> Group:
    """Stack several renderables vertically."""
    return Group(*_texts(parts))


def show(shown: RenderableType) -> None:
    """Print a renderable, fitted to the terminal's width; not wrapped in a pipe."""
    out = console()
    if out.is_terminal:
        out.print(shown)
    elif isinstance(shown, Group):
        for part in shown.renderables:
            show(part)
    elif isinstance(shown, Table):
        natural = Measurement.get(out, out.options.update(max_width=10**6), shown).maximum
        _Terminal(width=max(natural, out.width)).print(shown)
    else:
        out.print(shown, soft_wrap=isinstance(shown, Text))


def show_json(found: Any) -> None:
    """Print models, or lists and mappings of them, as JSON."""
    text = to_json(found, indent=1).decode()
    sys.stdout.write(_UNSAFE.sub(lambda held: _escaped(held[0]), text) + "\n")


def show_file(text: str) -> None:
    """Print a file's text: unchanged into a pipe, as safe text on a terminal."""
    sys.stdout.write(plain(text) if sys.stdout.isatty() else text)
    sys.stdout.flush()


def moment(seconds: float | None) -> str:
    """Format seconds since 1970 as a date and time; empty for `None`."""
    if not seconds:
        return ""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """Minutes and seconds, or hours with both."""
    minutes, left = divmod(int(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{left:02d}"
    return f"{minutes // 60}:{minutes % 60:02d}:{left:02d}"


def size(count: int) -> str:
    """A number of bytes with three digits or fewer, and a unit of powers of 1,000."""
    scaled, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB", "PB"):
        if scaled < 999.5:
            break
        scaled, unit = scaled / 1000, larger
    return f"{scaled:.0f} {unit}" if unit == "B" or scaled >= 99.5 else f"{scaled:.3g} {unit}"


def progress_bar() -> Progress:
    """A progress bar on stderr, with task, share and elapsed time; removed at the end."""
    out = errors()
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed:.0f}", markup=False),
        TimeRemainingColumn(),
        console=out,
        transient=True,
        disable=not out.is_terminal,
    )


def _texts(parts: Iterable[Any]) -> list[Any]:
    return [Text(plain(part)) if isinstance(part, str) else part for part in parts]


def _longest_word(cells: Iterable[Any], *, whole: bool) -> int:
    """Width in columns of the longest word, or with `whole` of the longest line."""
    lines = [line for cell in cells if isinstance(cell, Text) for line in cell.plain.split("\n")]
    pieces = lines if whole else [word for line in lines for word in line.split()]
    return max(map(cell_len, pieces), default=1)


def _escaped(character: str) -> str:
    """The character as an ASCII JSON escape; line breaks of the layout are kept."""
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))
