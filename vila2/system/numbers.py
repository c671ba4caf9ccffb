"""Numbers with their nouns, in sentences for people."""

from __future__ import annotations


def counted(number: int, noun: str, plural: str = "") -> str:
    """`1 sample`, `1,204 samples`; `plural` is for nouns that do not take an s."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"
