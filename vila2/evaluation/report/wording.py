"""Numbers and durations as a report writes them. Pure."""

from __future__ import annotations


def signed(difference: float) -> str:
    """A difference in points of 100, with its sign."""
    return f"{100 * difference:+z.1f}".replace("-", "\N{MINUS SIGN}")


def points(score: float) -> str:
    """A score in points of 100."""
    return f"{100 * score:z.1f}"


def duration(seconds: float) -> str:
    """Write a duration for a reader: 42 s, 3 min 20 s, 5 h 2 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
