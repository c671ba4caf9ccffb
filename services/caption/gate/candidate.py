"""The input of every check: a generated caption and its question."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

from vila2.schemas.sampling import Gate

# Quoted text is the image's own text: it may refuse, give commands or be in another language. A
# single quote inside a word is an apostrophe, and a pair of quotes never spans lines.
_QUOTED = re.compile(
    r"\"[^\"\n]*\"|“[^”\n]*”|„[^“”\n]*[“”]|«[^»\n]*»|»[^«\n]*«|「[^」\n]*」|『[^』\n]*』"
    r"|(?<!\w)['‘][^'’\n]+['’](?!\w)"
)
_QUOTES = ('""', "''", "“”", "„“", "„”", "«»", "»«", "「」", "『』")
# Full stops of scripts that separate sentences with spaces, and of scripts that do not.
SPACED_STOPS = ".!?…؟۔।॥։።។။"
CLOSE_STOPS = "。！？｡．"
_SENTENCE_GAP = re.compile(rf"(?<=[{SPACED_STOPS}:])\s+|(?<=[{CLOSE_STOPS}])|\n+")


@dataclass(frozen=True)
class GateLimits:
    """The limits of `vila2.schemas.sampling.Gate` that apply to one caption.

    `min_words` and `max_words` are in words as counted by `words.count_words`. `max_repeats` is how
    often one 4-gram of words may occur. `languages` are ISO 639-1 codes; empty allows any.
    """

    min_words: int
    max_words: int
    max_repeats: int
    languages: tuple[str, ...] = ("en",)

    @classmethod
    def of(cls, gate: Gate) -> GateLimits:
        """Build from the gate of a recipe or a request."""
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
        """The caption with plain apostrophes, and without quotes around the whole text."""
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
        """`text` with a number for each quotation, so that its neighbours stay apart."""
        return _QUOTED.sub(" 0 ", self.text)


def sentences_of(text: str) -> list[str]:
    """Sentences and lines, stripped and without empty ones."""
    return [part.strip() for part in _SENTENCE_GAP.split(text) if part.strip()]
