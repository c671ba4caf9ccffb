"""The fenced blocks of the pages, and whether tests run them.

A block that no test runs has a line in italics directly before it that says why:

    *Not run by the tests: it needs containers.*

sybil finds the blocks. Its own collection for pytest is not used: a page is one test, whose blocks
share a shell and stand-ins, and what is not run must be visible to a page's reader.

A block's language says what is done with it; `RUN` and `READ` list them. `text`, `mermaid` are
drawings and listings, which nobody types.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from sybil import Document, Region
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

from tests.support.paths import REPOSITORY

PAGES = [
    REPOSITORY / "README.md",
    *sorted(REPOSITORY.glob("docs/**/*.md")),
    *sorted(REPOSITORY.glob("deploy/**/README.md")),
]
RUN = ("sh", "console", "python", "http", "yaml", "json")
SHOWN = ("text", "mermaid")
_REASON = re.compile(r"^ *\*Not run by the tests: ([^*]+)\.\*\n\s*\Z", re.MULTILINE)
_LEXER = RawFencedCodeBlockLexer(re.compile(r"(?P<language>[^\n]*)\n"))


@dataclass(frozen=True)
class Block:
    """One fenced block; `reason` is why it is not run, empty if it is."""

    page: Path
    line: int
    language: str
    text: str
    reason: str

    @property
    def where(self) -> str:
        """The page and the line of the fence."""
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    """A page as the tests call it."""
    return page.relative_to(REPOSITORY).as_posix()


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    document = Document.parse(str(page), _regions)
    return [
        Block(
            page,
            example.line,
            example.region.lexemes["language"].strip(),
            str(example.region.lexemes["source"]),
            _reason(document.text[: example.start]),
        )
        for example in document.examples()
    ]


def _regions(document: Document) -> Iterator[Region]:
    yield from _LEXER(document)


def _reason(before: str) -> str:
    found = _REASON.search(before)
    return " ".join(found[1].split()) if found else ""


def commands_and_output(text: str) -> list[tuple[str, str]]:
    """What is typed after each `$ `, and what is shown as printed."""
    parts: list[tuple[list[str], list[str]]] = []
    continued = False
    for line in text.splitlines():
        if line.startswith("$ "):
            parts.append(([line[2:]], []))
        elif not parts:
            raise ValueError(f"output before the first command: {line}")
        else:
            parts[-1][0 if continued else 1].append(line)
        typed = parts[-1][0]
        continued = not parts[-1][1] and typed[-1].endswith("\\")
    return [("\n".join(typed), "\n".join(shown)) for typed, shown in parts]


def difference(shown: str, printed: str) -> str:
    """Empty if what was printed is what the page shows.

    `...` stands for anything. Spaces, the length of ruled lines and line breaks are not compared,
    since they depend on the terminal's width; ids and digests only have to agree with each other.
    """
    expected, got = _plain(shown), _plain(printed)
    pattern = ".*".join(re.escape(part.strip()) for part in expected.split("..."))
    if re.fullmatch(rf"\s*{pattern}\s*", got, re.DOTALL):
        return ""
    return f"shown:\n{shown}\n\nprinted:\n{printed}"


def _plain(text: str) -> str:
    seen: dict[str, str] = {}

    def named(found: re.Match[str]) -> str:
        return seen.setdefault(found[0], f"{found[1]}#{len(seen)}")

    text = re.sub(r"\b([a-z]+-)[0-9a-f]{8}\b", named, text)
    return " ".join(re.sub("─+", "─", text).split())


def outcomes(pages: Sequence[Path]) -> Iterator[str]:
    """What becomes of each block of the pages: `run: LANGUAGE`, or why not."""
    for page in pages:
        for block in blocks_of(page):
            if block.reason:
                yield f"not run: {block.reason}"
            elif block.language in SHOWN:
                yield "a drawing or a listing"
            else:
                yield f"run: {block.language}"
