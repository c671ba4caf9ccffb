"""Character-level metrics of an answer: for text in images, and for captions.

The distances are `rapidfuzz`'s and the character F-score is `sacrebleu`'s; both are imported when
first used, since submitting a benchmark needs neither.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

ANLS_THRESHOLD = 0.5


def anls(answer: str, expected: Sequence[str]) -> float:
    """Return the ANLS of an answer: 1 - NL against the nearest expected text, 0 if NL >= 0.5.

    NL is the Levenshtein distance in characters over the longer text's length. Case and the width
    of white space do not count, punctuation does (Biten et al., *Scene Text Visual Question
    Answering*, ICCV 2019, section 4).
    """
    given = _spaced(answer).casefold()
    best = min(_distance(given, _spaced(text).casefold()) for text in expected)
    return 1.0 - best if best < ANLS_THRESHOLD else 0.0


def edit_similarity(answer: str, expected: Sequence[str]) -> float:
    """Return 1 - NED against the nearest expected text, for transcriptions.

    NED is the Levenshtein distance in characters over the longer text's length, as in ICDAR's
    reading competitions. Case counts; the width of white space does not.
    """
    given = _spaced(answer)
    return 1.0 - min(_distance(given, _spaced(text)) for text in expected)


def chrf(answer: str, expected: Sequence[str]) -> float:
    """Return the character F-score chrF2 of one caption against all expected ones, from 0 to 1.

    Popović, *chrF: character n-gram F-score* (WMT 2015), n-grams of 1 to 6, recall weighted twice.
    A benchmark's score is the mean over its items, not the corpus's chrF.
    """
    scored = _chrf()(answer, list(expected)) / 100
    return min(1.0, max(0.0, scored))


def _spaced(text: str) -> str:
    return " ".join(text.split())


def _distance(one: str, other: str) -> float:
    from rapidfuzz.distance import Levenshtein

    return float(Levenshtein.normalized_distance(one, other))


@functools.cache
def _chrf() -> Callable[[str, list[str]], float]:
    try:
        from sacrebleu.metrics.chrf import CHRF
    except ModuleNotFoundError as error:
        raise ValueError(
            "metric 'chrf' needs sacrebleu: `pip install 'vila2[benchmarks]'` where jobs run"
        ) from error
    metric = CHRF()
    return lambda answer, expected: float(metric.sentence_score(answer, expected).score)
