"""Whether an English caption is in English, by script and by its smallest words.

Two quotas instead of a language model: cheap, and sure of the cases that matter (a captioner that
answers in another language). A single foreign word passes, and so does a short text in another
language of Latin script ("Un perro.").
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from services.caption.gate.candidate import Candidate, words_of

_FOREIGN_LETTERS = 0.2
# Function words that are no English words and no usual part of names ("de", "la", "van").
_FOREIGN = frozenset(
    word
    for line in (
        "der das und ein eine einen einem einer ist auf mit dem nicht sich steht vor neben sind",
        "le les un une des est dans avec sur et qui aux une sont sous près elle",
        "el los las una con está están sobre junto por que muy",
        "il gli nel nella sono uno della sulla che è",
        "um uma com os em está ao dos na perto",
        "een het op zijn naast aan wordt staat",
    )
    for word in line.split()
)
_ENGLISH = frozenset(
    word
    for line in (
        "the of and with is are at to near while his her their from for by it its two three this",
        "that wearing has have into over through",
    )
    for word in line.split()
)
_LEAST_FOREIGN = 2


def language(candidate: Candidate) -> bool:
    """Whether the caption is not English; quotations from the image do not count."""
    text = candidate.own_words
    if not any(character.isalpha() for character in text):
        text = candidate.text
    return _foreign_script(text) or _foreign_words(text)


def _foreign_script(text: str) -> bool:
    letters = [character for character in text if character.isalpha()]
    foreign = sum(not _is_latin(character) for character in letters)
    return foreign > _FOREIGN_LETTERS * len(letters)


@lru_cache(maxsize=4096)
def _is_latin(letter: str) -> bool:
    return letter.isascii() or "LATIN" in unicodedata.name(letter, "")


def _foreign_words(text: str) -> bool:
    # Capitals inside a text are names or print: "LOS ANGELES", "Café des Arts".
    words = text.split()
    small = words_of(" ".join(w for i, w in enumerate(words) if i == 0 or w[0].islower()))
    foreign = sum(word in _FOREIGN for word in small)
    return foreign >= _LEAST_FOREIGN and foreign > sum(word in _ENGLISH for word in small)
