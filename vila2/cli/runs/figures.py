"""Ranges and large numbers in the tables of estimates and costs."""

from __future__ import annotations

from rich.text import Text

from vila2.schemas.rest.estimates import Range


def range_text(value: Range | None) -> Text:
    """The middle of a range, and below it both ends if they differ."""
    if value is None:
        return Text()
    shown = Text(short(value.mid))
    if value.low != value.high:
        shown.append(f"\n{short(value.low)}–{short(value.high)}", "dim")
    return shown


def short(value: float) -> str:
    """A number in a short form: 0.012, 4.6, 789, 12.3k, 4.5M."""
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if mark == 'k' else size):,.3g}{mark}"
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
