"""Loops: the failure of greedy decoding that takes a caption to its last token."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from services.caption.gate.candidate import Candidate, words_of

_NGRAM = 4
# Longest block of words looked for in immediate succession: about two sentences.
_LONGEST_BLOCK = 40
# "ha ha ha ha" is a word's right; a whole phrase three times in a row is a loop.
_SHORT_BLOCK_TIMES = 4
_LONG_BLOCK_TIMES = 2
# A unit of characters, at least six times; a text without blanks (a rule of dashes, another
# script) has no words to count. Sixteen characters spare "1000000000" and "........".
_CHARACTER_LOOP = re.compile(r"(.{1,24}?)\1{5,}", re.DOTALL)
_CHARACTER_SPAN = 16


def repetition(candidate: Candidate) -> bool:
    """Whether a 4-gram occurs too often, or a block of words or characters loops."""
    words = words_of(candidate.caption)
    return (
        _most_common(words) > candidate.limits.max_repeats
        or _block_loops(words)
        or _characters_loop(" ".join(candidate.caption.split()))
    )


def _most_common(words: Sequence[str]) -> int:
    counts = Counter(tuple(words[i : i + _NGRAM]) for i in range(len(words) - _NGRAM + 1))
    return max(counts.values(), default=0)


def _block_loops(words: Sequence[str]) -> bool:
    """Whether a block of words follows itself more often than its length allows."""
    for size in range(1, min(_LONGEST_BLOCK, len(words) // 2) + 1):
        allowed = _SHORT_BLOCK_TIMES if size < _NGRAM else _LONG_BLOCK_TIMES
        matching = 0
        for i in range(size, len(words)):
            matching = matching + 1 if words[i] == words[i - size] else 0
            if matching >= size * allowed:
                return True
    return False


def _characters_loop(text: str) -> bool:
    return any(
        match.end() - match.start() >= _CHARACTER_SPAN for match in _CHARACTER_LOOP.finditer(text)
    )
