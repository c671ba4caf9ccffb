"""The input of every check: a generated caption and its question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

# What an image's own print says is quoted; it may refuse, command or speak Greek. The single
# quote is an apostrophe inside a word, and a pair of quotes never spans lines.
_QUOTED = re.compile(r"\"[^\"\n]*\"|“[^”\n]*”|«[^»\n]*»|(?<!\w)['‘][^'’\n]+['’](?!\w)")
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_SENTENCE_GAP = re.compile(r"(?<=[.!?:。！？])\s+|\n+")


@dataclass(frozen=True)
class GateLimits:
    """The limits of `vila2.recipes.recipe.Gate` that concern one caption.

    Words are counted between blanks; `max_repeats` is how often one 4-gram of words may occur.
    """

    min_words: int
    max_words: int
    max_repeats: int


@dataclass(frozen=True)
class Candidate:
    """A generated caption, the question it answers, and why generation ended."""

    caption: str
    prompt: str
    finish_reason: str
    limits: GateLimits

    @cached_property
    def text(self) -> str:
        """The caption with typographic apostrophes made plain, without quotes around all of it."""
        text = self.caption.strip().replace("’", "'").replace("‘", "'")
        if len(text) > 1 and text[0] + text[-1] in ('""', "''", "“”", "«»"):
            inner = text[1:-1]
            if text[0] not in inner and text[-1] not in inner:
                return inner.strip()
        return text

    @cached_property
    def own_words(self) -> str:
        """`text` without quotations: the model's own words."""
        return _QUOTED.sub(" ", self.text)


def words_of(text: str) -> list[str]:
    """Words and numbers, case folded, without punctuation."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def sentences_of(text: str) -> list[str]:
    """Sentences and lines, trimmed, none empty."""
    return [part.strip() for part in _SENTENCE_GAP.split(text) if part.strip()]
