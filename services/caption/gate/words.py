"""Words in any script: what the checks count and compare.

In scripts that separate words with spaces, a word is a run of letters, digits and combining marks
(Python's `\\w` has no marks and would cut Hindi at every vowel sign). Hyphens and apostrophes
inside a word belong to it ("kupu-kupu" is one butterfly in Malay, not a word said twice). Scripts
without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese) would need a dictionary to be split
into words, so each letter with its marks is a unit.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Letters per word in a script without spaces. Parallel captions (Tux Paint's stamps) have 1.2
# letters for one English word in Chinese, 2.4 in Japanese and Khmer, and 3.1 in Thai; two is in
# between.
LETTERS_PER_WORD = 2

# Excludes these scripts' digits, which form numbers as in other scripts.
_NO_BLANKS = (
    "\u0e01-\u0e4f\u0e5a-\u0ecf\u0edc-\u0edf"  # Thai, Lao
    "\u1000-\u103f\u104a-\u109f\ua9e0-\ua9ef\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17df"  # Khmer
    "\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f"  # kana
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)


def _mark_ranges() -> Iterator[str]:
    """Ranges of combining marks, and the joiners of Indic and Persian spelling."""
    yield "\u200c\u200d"
    start = None
    # Above the supplementary multilingual plane, only variation selectors combine.
    for code in range(0x300, 0x1F000):
        mark = unicodedata.category(chr(code))[0] == "M"
        if mark and start is None:
            start = code
        elif not mark and start is not None:
            yield f"{chr(start)}-{chr(code - 1)}"
            start = None


_MARKS = "".join(_mark_ranges())
_RUN = rf"[^\W{_NO_BLANKS}](?:[^\W{_NO_BLANKS}]|[{_MARKS}])*"
_LETTER = rf"(?=[{_NO_BLANKS}])\w[{_MARKS}]*"
# Apostrophes, hyphens, the Catalan middle dot, and the Hebrew signs of abbreviation.
_WORD = re.compile(rf"{_RUN}(?:['’\-‐·׳״]{_RUN})*|{_LETTER}")
_ALONE = re.compile(_LETTER)


def words_of(text: str) -> list[str]:
    """Words, numbers, and letters of scripts without spaces; case-folded, without punctuation."""
    return _WORD.findall(text.casefold().replace("’", "'"))


def without_blanks(words: Sequence[str]) -> bool:
    """Whether most of the words are single letters of scripts without spaces."""
    return 2 * sum(_ALONE.match(word) is not None for word in words) > len(words)


def count_words(text: str) -> int:
    """Words separated by spaces; a box is one word, a lone full stop none.

    In a script without spaces, `LETTERS_PER_WORD` letters are a word.
    """
    return sum(_words_in(part) for part in text.split())


def _words_in(part: str) -> int:
    letters = len(_ALONE.findall(part))
    others = any(character.isalnum() for character in _ALONE.sub("", part))
    return -(-letters // LETTERS_PER_WORD) + others
