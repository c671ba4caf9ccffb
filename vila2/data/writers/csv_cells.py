"""Escaping of CSV cells that a spreadsheet would run as formulas."""

from __future__ import annotations

import re

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_ESCAPED = re.compile(r"''*[=+\-@\t\r]")


def escape_cell(text: str) -> str:
    """Put an apostrophe before text that begins like a formula (CSV injection)."""
    return f"'{text}" if _FORMULA.match(text) else text


def unescape_cell(text: str) -> str:
    """Undo `escape_cell`."""
    return text[1:] if _ESCAPED.match(text) else text
