"""Word salad: words of the language in an order or mixture that nobody writes.

Detected without a language model by three counts. The share of distinct words works in every
language. The share of function words, and pairs of words that English does not form, are used only
for English.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from services.caption.gate.candidate import Candidate
from services.caption.gate.language import reads_as_english
from services.caption.gate.words import words_of

# Measured within 40 words: unlike that of a whole text, this share does not fall with length. Human
# captions of 8 words or more have at least 0.5, and 0.54 distinct letters in scripts without spaces
# (20 languages, `bench/gate.py`).
_WINDOW = 40
_LEAST_WORDS = 8
_LEAST_DISTINCT = 0.45

_ARTICLES = frozenset({"a", "an", "the"})
_PREPOSITIONS = frozenset({"of", "with", "into", "during", "against", "toward", "towards"})
# "With at least" and "in front of and behind" are valid.
_AFTER_NO_PREPOSITION = frozenset(
    word
    for line in (
        "of into during against toward towards with but is are was were has have",
        "because if he she they",
    )
    for word in line.split()
)
# "A while" and "a near miss" are valid.
_AFTER_NO_ARTICLE = _AFTER_NO_PREPOSITION | frozenset(
    word
    for line in (
        "a an the of in on at from to for by onto among between beside beneath upon and or",
        "be that which it his her their its them him there",
    )
    for word in line.split()
)
# Neighbours are words separated by spaces only, without a comma, dash or emoji.
_PART = re.compile(r"[^\w '’-]+|(?<!\w)-|-(?!\w)")
# A letter's name: "the letter A with an umlaut", "a with an umlaut".
_LETTER_NAME = re.compile(r"(?<=\w )A\b|\bletter a\b")
# Writers make slips: one in this many words passes. Ten of 36,600 English captions have one in
# fewer words, none has two.
_WORDS_PER_SLIP = 60
# Words that do not denote a thing, an action or a property.
_FUNCTION_WORDS = _ARTICLES | _PREPOSITIONS | _AFTER_NO_ARTICLE
_LEAST_FUNCTION_WORDS = 3


def word_salad(candidate: Candidate) -> bool:
    """Whether the caption is a salad of words."""
    words = words_of(candidate.unquoted)
    if _few_distinct(words):
        return True
    return reads_as_english(candidate) and (
        _only_function_words(words)
        or sum(_impossible_pairs(candidate.unquoted)) > len(words) // _WORDS_PER_SLIP
    )


def _few_distinct(words: Sequence[str]) -> bool:
    """Whether windows of the text have too few distinct words; each number counts as distinct."""
    units = [
        f"{i}" if any(character.isdigit() for character in word) else word
        for i, word in enumerate(words)
    ]
    if len(units) < _LEAST_WORDS:
        return False
    distinct = sum(len(set(units[i : i + _WINDOW])) for i in range(0, len(units), _WINDOW))
    return distinct < _LEAST_DISTINCT * len(units)


def _only_function_words(words: Sequence[str]) -> bool:
    return len(words) >= _LEAST_FUNCTION_WORDS and all(word in _FUNCTION_WORDS for word in words)


def _impossible_pairs(text: str) -> Iterator[bool]:
    """For each pair of neighbours in a clause, whether English does not form it."""
    for part in _PART.split(_LETTER_NAME.sub(" 0 ", text)):
        words = words_of(part)
        for first, second in pairwise(words):
            yield (first in _ARTICLES and second in _AFTER_NO_ARTICLE) or (
                first in _PREPOSITIONS and second in _AFTER_NO_PREPOSITION
            )
