"""Checks of form: characters, markup, ending and length."""

from __future__ import annotations

import re
import unicodedata

from services.caption.gate.candidate import CLOSE_STOPS, SPACED_STOPS, Candidate
from services.caption.gate.words import count_words


def empty(candidate: Candidate) -> bool:
    """Whether the caption has no letters and no digits."""
    return not any(character.isalnum() for character in candidate.caption)


_BROKEN = re.compile("\ufffd|â€|Ã[©¨¢ª§¯®´¼¶¤]|Â[°·»«]")
_BROKEN_CATEGORIES = frozenset({"Cc", "Cs", "Co"})


def bad_characters(candidate: Candidate) -> bool:
    """Whether the caption contains a replacement, control, private or surrogate character.

    UTF-8 that was decoded as Latin-1 ("cafÃ©") also counts.
    """
    text = candidate.caption
    return bool(_BROKEN.search(text)) or any(
        unicodedata.category(character) in _BROKEN_CATEGORIES and character not in "\t\n\r"
        for character in text
        if not " " <= character <= "~"
    )


_MARKUP = re.compile(
    r"```"
    r"|^ {0,3}#{1,6}\s+[^\W\d]"  # a heading; "# 7 in red" is a player
    r"|^[ \t]*[-*+•‣◦▪●–—][ \t]+\S"
    r"|^[ \t]*\|.*\|[ \t]*$"
    r"|\*\*[^*\n]+\*\*"
    r"|!\[|\]\(\s*(?:https?:|/|#)"
    r"|\A\s*[\[{]\s*[{\"}]"
    r"|\"\w+\"\s*:\s*[\[{\"\d]"
    r"|</?[a-z_][\w.:-]*(?:\s[^<>]*)?/?>"  # <image>, </s>, <think>, <br/>
    r"|<[|｜][^<>]{1,40}[|｜]>|\[/?INST\]|<0x[0-9a-f]{2}>"
    r"|▁|[a-z]Ġ[a-z]",  # a tokenizer's spaces, not decoded
    re.IGNORECASE | re.MULTILINE,
)
_NUMBERED_LINE = re.compile(r"^[ \t]*\(?(\d{1,2})[.)][ \t]+\S", re.MULTILINE)
_INLINE_FIRST = re.compile(r"(?:^|\s)\(?1[.)]\s+\S")
_INLINE_SECOND = re.compile(r"\s\(?2[.)]\s+\S")


def markup(candidate: Candidate) -> bool:
    """Whether the caption contains lists, headings, code, JSON, tags or tokenizer markup.

    "7." and "[031,062,219,250]" are answers, not markup.
    """
    text = candidate.caption
    first = _INLINE_FIRST.search(text)
    if _MARKUP.search(text) or (first and _INLINE_SECOND.search(text, first.end())):
        return True
    numbers = _NUMBERED_LINE.findall(text)
    return len(numbers) > 1 or numbers == ["1"]


_SENTENCE_END = re.compile(rf"[{SPACED_STOPS}{CLOSE_STOPS}][)\]\"'”“’»«*）」』]*\Z")


def length_truncated(candidate: Candidate) -> bool:
    """Whether the token limit cut the caption in the middle of a sentence.

    Thai has no full stop, so every Thai caption that reaches the limit counts as cut.
    """
    return candidate.finish_reason == "length" and not _SENTENCE_END.search(
        candidate.caption.rstrip()
    )


def too_short(candidate: Candidate) -> bool:
    """Whether the caption has fewer than `min_words` words."""
    return count_words(candidate.caption) < candidate.limits.min_words


def too_long(candidate: Candidate) -> bool:
    """Whether the caption has more than `max_words` words."""
    return count_words(candidate.caption) > candidate.limits.max_words
