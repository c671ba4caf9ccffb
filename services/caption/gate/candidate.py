"""The input of every check: a generated caption and its question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from vila2.schemas.sampling import Gate

# What an image's own print says is quoted; it may refuse, command or speak Greek. The single
# quote is an apostrophe inside a word, and a pair of quotes never spans lines.
_QUOTED = re.compile(
    r"\"[^\"\n]*\"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|»[^«\n]*«|「[^」\n]*」|『[^』\n]*』"
    r"|(?<!\w)['‘][^'’\n]+['’](?!\w)"
)
_QUOTES = ('""', "''", "“”", "„“", "„”", "«»", "»«", "「」", "『』")
# Full stops of scripts with blanks between sentences, and of those without.
SPACED_STOPS = ".!?…؟۔।॥։።។။"
CLOSE_STOPS = "。！？｡．"
_SENTENCE_GAP = re.compile(rf"(?<=[{SPACED_STOPS}:])\s+|(?<=[{CLOSE_STOPS}])|\n+")


@dataclass(frozen=True)
class GateLimits:
    """The limits of `vila2.schemas.sampling.Gate` that concern one caption.

    `min_words` and `max_words` are in words as `words.count_words` counts them; `max_repeats` is
    how often one 4-gram of words may occur; `languages` are ISO 639-1 codes, none of them for any.
    """

    min_words: int
    max_words: int
    max_repeats: int
    languages: tuple[str, ...] = ("en",)

    @classmethod
    def of(cls, gate: Gate) -> GateLimits:
        """From a recipe's or a request's gate."""
        return cls(gate.min_words, gate.max_words, gate.max_repeats, gate.languages)


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
        if len(text) > 1 and text[0] + text[-1] in _QUOTES:
            inner = text[1:-1]
            if text[0] not in inner and text[-1] not in inner:
                return inner.strip()
        return text

    @cached_property
    def own_words(self) -> str:
        """`text` without quotations: the model's own words."""
        return _QUOTED.sub(" ", self.text)

    @cached_property
    def unquoted(self) -> str:
        """`text` with a number in the place of each quotation, so that no neighbours are made."""
        return _QUOTED.sub(" 0 ", self.text)


def sentences_of(text: str) -> list[str]:
    """Sentences and lines, trimmed, none empty."""
    return [part.strip() for part in _SENTENCE_GAP.split(text) if part.strip()]
