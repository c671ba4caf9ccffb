"""Which words a caption has gained and lost. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

# Texts that share less are two texts, and marking every word would say nothing.
_LEAST_SHARED = 0.3
# Comparing takes time that grows with the product of both lengths.
_MOST_WORDS = 400


@dataclass(frozen=True, slots=True)
class Piece:
    """Words that both texts have, that were added, or that were removed."""

    kind: Literal["same", "added", "removed"]
    text: str


def word_diff(before: str, after: str) -> list[Piece]:
    """`after` in pieces, with the words of `before` that it lacks between them.

    One unmarked piece if the texts share few words, or are very long.
    """
    old, new = before.split(), after.split()
    if not (old and new) or max(len(old), len(new)) > _MOST_WORDS:
        return [Piece("same", after)]
    matcher = SequenceMatcher(None, [*map(_bare, old)], [*map(_bare, new)], autojunk=False)
    if matcher.ratio() < _LEAST_SHARED:
        return [Piece("same", after)]
    pieces = []
    for what, a, b, c, d in matcher.get_opcodes():
        if what == "equal":
            pieces.append(Piece("same", " ".join(new[c:d])))
            continue
        pieces += [Piece("removed", " ".join(old[a:b]))] if b > a else []
        pieces += [Piece("added", " ".join(new[c:d]))] if d > c else []
    return pieces


def _bare(word: str) -> str:
    """A word without case and marks, whose change is no change of words."""
    return word.strip(".,;:!?()[]\"'").lower() or word
