"""Loops: the failure mode in which greedy decoding repeats itself up to the token limit."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from services.caption.gate.candidate import Candidate
from services.caption.gate.words import LETTERS_PER_WORD, without_blanks, words_of

_NGRAM = 4
# This many letters are two to ten words; アプリケーション alone has eight.
_NGRAM_LETTERS = 12
# Longest block of words looked for in immediate succession: about two sentences.
_LONGEST_BLOCK = 40
# "ha ha ha ha" is allowed for a single word; a whole phrase three times in a row is a loop.
_SHORT_BLOCK_TIMES = 4
_LONG_BLOCK_TIMES = 2
# A block of characters that occurs at least six times. Text without spaces (a line of dashes, some
# scripts) has no words to count. Sixteen characters allow "1000000000" and "........".
_CHARACTER_LOOP = re.compile(r"(.{1,24}?)\1{5,}", re.DOTALL)
_CHARACTER_SPAN = 16
# "ha ha" may be all that a sign says; three of one word are no caption.
_ONE_WORD = 3
_ONE_LETTER = 4
# A doubled word can be a slip, or mean "very" or "each" in a language (Vietnamese, Hindi). Of
# 85,000 human captions in 65 languages (`bench/gate.py`), none has two doubled words that make up a
# quarter of it. A caption repeated as a whole has fewer than six words ("Au feu ! Au feu !").
_DOUBLED = 2
_DOUBLED_SHARE = 0.25
_COVERED = 6
_COVERED_SHARE = 0.65
# Chinese and Thai words legitimately double letters, as in 星星 and 奶奶的洋娃娃.
_COVERED_LETTERS = 8
_COVERED_LETTERS_SHARE = 0.8


def repetition(candidate: Candidate) -> bool:
    """Whether a 4-gram occurs too often, or a block of words or characters loops.

    Also matches a caption of one repeated word or letter, one whose words are doubled, and one that
    mostly repeats its own beginning. In scripts without spaces all lengths are in letters,
    `LETTERS_PER_WORD` for a word.
    """
    words = words_of(candidate.caption)
    scale = LETTERS_PER_WORD if without_blanks(words) else 1
    own = words_of(candidate.unquoted)
    return (
        _most_common(words, _NGRAM if scale == 1 else _NGRAM_LETTERS) > candidate.limits.max_repeats
        or _block_loops(words, scale)
        or _characters_loop(" ".join(candidate.caption.split()))
        or _one_thing(own)
        or _repeats_itself(own, scale)
    )


def _most_common(words: Sequence[str], size: int) -> int:
    counts = Counter(tuple(words[i : i + size]) for i in range(len(words) - size + 1))
    return max(counts.values(), default=0)


def _block_loops(words: Sequence[str], scale: int) -> bool:
    """Whether a block of words is repeated in succession more often than its length allows."""
    for size in range(1, min(_LONGEST_BLOCK * scale, len(words) // 2) + 1):
        allowed = _SHORT_BLOCK_TIMES if size < _NGRAM * scale else _LONG_BLOCK_TIMES
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


def _one_thing(words: Sequence[str]) -> bool:
    """Whether the caption is a single repeated word or letter; numbers pass ("7 7 7", "1111")."""
    letters = "".join(words)
    if not letters or any(character.isdigit() for character in letters):
        return False
    return (len(set(words)) == 1 and len(words) >= _ONE_WORD) or (
        len(set(letters)) == 1 and len(letters) >= _ONE_LETTER
    )


def _repeats_itself(words: Sequence[str], scale: int) -> bool:
    """Whether words are doubled one by one, or repeated blocks cover most of the text.

    Numbers do not count, because boxes and prices may repeat.
    """
    spelled = [not any(character.isdigit() for character in word) for word in words]
    covered = [False] * len(words)
    for size in range(1, min(_LONGEST_BLOCK * scale, len(words) // 2) + 1):
        matching = 0
        for i in range(size, len(words)):
            matching = matching + 1 if words[i] == words[i - size] else 0
            if matching >= size:
                # Everything before is marked already, except the block's first occurrence.
                first = i - 2 * size + 1 if matching == size else i
                covered[first : i + 1] = [True] * (i + 1 - first)
    total = sum(a and b for a, b in zip(covered, spelled, strict=True))
    if scale > 1:
        return total >= max(_COVERED_LETTERS, _COVERED_LETTERS_SHARE * len(words))
    doubles = [
        word
        for word, before, counts in zip(words[1:], words, spelled[1:], strict=False)
        if counts and word == before
    ]
    if len(set(doubles)) >= _DOUBLED and len(doubles) >= _DOUBLED_SHARE * len(words):
        return True
    return total >= max(_COVERED, _COVERED_SHARE * len(words))
