"""Text statistics of a set of captions: length, diversity and formulaic phrasing.

These figures need no images, so they cannot say whether a caption is true. They show what a
self-training loop is known to lose: variety, and the names that only the alt-text knew. Longer
captions repeat more n-grams, so variety is counted within the first `budget` words of every
caption, the same for every round (the matched-budget audit of recaptioned corpora: Oh et al.,
NeurIPS 2026 Evaluations and Datasets). Compare rounds over the same images only: all of these
shares also depend on how many captions there are.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import ConfigDict

_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_STOP_WORDS = frozenset(
    "a about above after all also an and any are as at be been but by can could do does for from"  # noqa: SIM905
    " had has have he her here his how i if in into is it its just me my no not of off on or our"
    " out over she so some than that the their them then there these they this those to too under"
    " up very was we were what when where which while who will with you your image photo image"
    " stock jpg png jpeg www com http https".split()
)
_OPENER_WORDS = 3
_PREFIX_WORDS = 5
_PREFIXES = 100


@dataclass(frozen=True, slots=True)
class CaptionMetrics:
    """Figures of one set of captions; shares are between 0 and 1.

    `words_sd` is the population's standard deviation. `distinct_n` is the share of n-grams that
    are different. `opener_rate` is the share of captions that begin with the most common first
    three words, `prefix_mass` the same of the first five, `top_prefix_mass` the share that begin
    with one of the 100 most common first five. `alt_text_retention` is the mean share of the
    alt-text's content words that the caption keeps, `entity_retention` that of its names and
    numbers (`entities`); `None` without alt-texts, or if none has any. `duplicate_rate` is the
    share of captions that repeat an earlier one exactly. `consistency` is the mean score of
    `vila2.engine.consistency` over the captions that have one, nats per token; `None` without.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    captions: int
    budget: int
    words_mean: float
    words_sd: float
    distinct_1: float
    distinct_2: float
    distinct_3: float
    opener_rate: float
    top_prefix_mass: float
    alt_text_retention: float | None
    duplicate_rate: float
    prefix_mass: float | None = None
    entity_retention: float | None = None
    consistency: float | None = None


def compute(
    captions: Sequence[str],
    originals: Sequence[str] | None = None,
    *,
    budget: int = 64,
    consistency: Sequence[float | None] = (),
) -> CaptionMetrics:
    """Measure `captions`; `originals` are the alt-texts of the same samples, in the same order.

    `consistency` holds the captions' scores, if the layer has them. Raises `ValueError` for no
    captions, or a different number of originals.
    """
    if not captions:
        raise ValueError("there are no captions to measure")
    if originals is not None and len(originals) != len(captions):
        raise ValueError(f"{len(captions)} captions but {len(originals)} originals")
    whole = [words_of(caption) for caption in captions]
    cut = [words[:budget] for words in whole]
    lengths = [len(words) for words in whole]
    mean = sum(lengths) / len(lengths)
    variance = sum((length - mean) ** 2 for length in lengths) / len(lengths)
    scored = [score for score in consistency if score is not None]
    return CaptionMetrics(
        captions=len(captions),
        budget=budget,
        words_mean=mean,
        words_sd=math.sqrt(variance),
        distinct_1=distinct(cut, n=1),
        distinct_2=distinct(cut, n=2),
        distinct_3=distinct(cut, n=3),
        opener_rate=_prefix_mass(cut, words=_OPENER_WORDS, most_common=1),
        top_prefix_mass=_prefix_mass(cut, words=_PREFIX_WORDS, most_common=_PREFIXES),
        alt_text_retention=None if originals is None else _retention(whole, _contents(originals)),
        duplicate_rate=1 - len(set(captions)) / len(captions),
        prefix_mass=_prefix_mass(cut, words=_PREFIX_WORDS, most_common=1),
        entity_retention=None if originals is None else _retention(whole, entities(originals)),
        consistency=sum(scored) / len(scored) if scored else None,
    )


def entities(originals: Sequence[str]) -> list[set[str]]:
    """The names and numbers of each alt-text, folded.

    A word is a name if it begins with a capital wherever it occurs in the whole set, at least
    once behind a text's first word: capitals in Title Case alt-texts carry no information, but
    another text has "dress" in lower case. A word with a digit is a number. In a small set, or in
    one that is written in capitals throughout, more words than names are taken for names.
    """
    lower: set[str] = set()
    capital: set[str] = set()
    split = [_WORD.findall(unicodedata.normalize("NFKC", original)) for original in originals]
    for words in split:
        for place, word in enumerate(words):
            if not word[0].isupper():
                lower.add(word.casefold())
            elif place:
                capital.add(word.casefold())
    names = capital - lower - _STOP_WORDS
    found = []
    for words in split:
        folded = {word.casefold() for word in words}
        found.append({w for w in folded if w in names or any(c.isdigit() for c in w)})
    return found


def words_of(text: str) -> list[str]:
    """Split a text into words, letters and digits only, in one case and Unicode form."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def distinct(texts: Sequence[Sequence[str]], *, n: int) -> float:
    """Return unique n-grams over all n-grams of the whole set (0 when there is none)."""
    seen: set[tuple[str, ...]] = set()
    total = 0
    for words in texts:
        grams = list(zip(*(words[start:] for start in range(n)), strict=False))
        seen.update(grams)
        total += len(grams)
    return len(seen) / total if total else 0.0


def _prefix_mass(texts: Sequence[Sequence[str]], *, words: int, most_common: int) -> float:
    prefixes = Counter(tuple(text[:words]) for text in texts)
    return sum(count for _, count in prefixes.most_common(most_common)) / len(texts)


def _contents(originals: Sequence[str]) -> list[set[str]]:
    return [set(words_of(original)) - _STOP_WORDS for original in originals]


def _retention(captions: Sequence[Sequence[str]], wanted: Sequence[set[str]]) -> float | None:
    """Mean retention over the samples that have something to retain; `None` if there are none."""
    shares = [
        len(words & set(caption)) / len(words)
        for caption, words in zip(captions, wanted, strict=True)
        if words
    ]
    return sum(shares) / len(shares) if shares else None
