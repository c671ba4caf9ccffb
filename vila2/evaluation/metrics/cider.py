"""CIDEr-D: how well a caption agrees with what several people wrote of the same image.

Follows Vedantam, Zitnick and Parikh (2015), in the clipped and length-penalised form "CIDEr-D" of
the COCO caption server (section 5 and `pycocoevalcap.cider`): cosine of TF-IDF vectors of 1- to
4-grams, a Gaussian penalty on the difference in length (sigma 6), times 10. As in that code, words
are not stemmed, and a caption's length is its number of bigrams.

Written here because no package on PyPI gives it alone: `pycocoevalcap` (last release 2020) is
100 MB and tokenises by a Java program, `aac-metrics` does so too and brings torchmetrics,
sentence-transformers and an audio CLAP model. On words that are tokenised alike this one equals
`pycocoevalcap` 1.2; the tests check its figures.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_LONGEST = 4
_SIGMA = 6.0

Ngram = tuple[str, ...]

# Penn Treebank splits contractions into words: "isn't" is `is n't`, "man's" is `man 's`.
_SPLITS = (
    (re.compile(r"[‘’]"), "'"),
    (re.compile(r"[“”]"), '"'),
    (re.compile(r"\b(can)(not)\b"), r"\1 \2"),
    (re.compile(r"\b(gon|wan)(na)\b"), r"\1 \2"),
    (re.compile(r"(?<=\w)(n't)\b"), r" \1 "),
    (re.compile(r"(?<=\w)('(?:s|m|d|ll|re|ve))\b"), r" \1 "),
)
_WORD = re.compile(
    r"""
    n't | '(?:s|m|d|ll|re|ve)\b          # what `_SPLITS` split off
    | (?:[a-z]\.){2,}                     # u.s.
    | (?:mr|mrs|ms|dr|st|jr)\.            # titles keep their full stop
    | \w+(?:[.,:/'&-]+\w+)*               # words, t-shirts, 3:30, 10,000, o'clock
    | [^\w\s"'`.?!,:;-]                   # signs are words; the server drops this punctuation
    """,
    re.VERBOSE,
)


def tokenise(text: str) -> list[str]:
    """Words of a caption, lower case, as the Penn Treebank splits them, without punctuation.

    Approximates Stanford's PTBTokenizer 3.4.1, which the COCO server runs; on 35,865 captions of
    photographs the two differed in 6 (`at&t`, a lone initial `u.`, `slip 'n' slide`).
    """
    text = text.lower()
    for pattern, replacement in _SPLITS:
        text = pattern.sub(replacement, text)
    return _WORD.findall(text)


@dataclass(frozen=True, slots=True)
class DocumentFrequencies:
    """In how many of `images` images' references each n-gram occurs."""

    images: int
    counts: Mapping[Ngram, int]

    @classmethod
    def of(cls, references: Iterable[Sequence[str]]) -> DocumentFrequencies:
        """Count over each image's references; an image counts an n-gram once."""
        counts: Counter[Ngram] = Counter()
        images = 0
        for captions in references:
            images += 1
            counts.update({ngram for caption in captions for ngram in _ngrams(tokenise(caption))})
        return cls(images, counts)


@dataclass(frozen=True, slots=True)
class CiderResult:
    """CIDEr-D: 10.0 copies the references; one person against four others gets about 1.0."""

    score: float
    per_item: dict[str, float]


def cider_d(
    candidates: Mapping[str, str],
    references: Mapping[str, Sequence[str]],
    *,
    document_frequencies: DocumentFrequencies | None = None,
) -> CiderResult:
    """Score one caption per image against that image's references.

    Both mappings have the same keys, an image's id. The mean over images is `score`. Document
    frequencies are those of `references` unless given; they must then be the same for all scores
    that are compared, and a score on few images depends on which they are. With a single
    image and no given frequencies every n-gram weighs nothing, so that is an error.
    Raises `ValueError` on missing or surplus keys, and on an image without references.
    """
    if candidates.keys() != references.keys():
        odd = sorted(candidates.keys() ^ references.keys())
        raise ValueError(f"candidates and references differ in {len(odd)} ids, such as {odd[:3]}")
    empty = sorted(key for key, captions in references.items() if not captions)
    if empty:
        raise ValueError(f"{len(empty)} items have no references, such as {empty[:3]}")
    frequencies = document_frequencies or DocumentFrequencies.of(references.values())
    if frequencies.images < 2:
        raise ValueError(
            "CIDEr-D weighs words by how few images they occur in, so it needs at least two "
            "images: score more, or pass `document_frequencies` of a larger set"
        )
    per_item = {
        key: _score(caption, references[key], frequencies) for key, caption in candidates.items()
    }
    return CiderResult(math.fsum(per_item.values()) / len(per_item), per_item)


def _ngrams(words: Sequence[str]) -> Counter[Ngram]:
    return Counter(
        tuple(words[start : start + length])
        for length in range(1, _LONGEST + 1)
        for start in range(len(words) - length + 1)
    )


@dataclass(frozen=True, slots=True)
class _Vector:
    """TF-IDF weights per n-gram length, their norms, and the caption's length in bigrams."""

    weights: list[dict[Ngram, float]]
    norms: list[float]
    length: int


def _vector(caption: str, frequencies: DocumentFrequencies) -> _Vector:
    weights: list[dict[Ngram, float]] = [{} for _ in range(_LONGEST)]
    length = 0
    log_images = math.log(frequencies.images)
    for ngram, count in _ngrams(tokenise(caption)).items():
        # An n-gram that no reference has counts as if one image had it.
        idf = log_images - math.log(max(1, frequencies.counts.get(ngram, 0)))
        weights[len(ngram) - 1][ngram] = count * idf
        length += count if len(ngram) == 2 else 0
    norms = [math.sqrt(sum(weight**2 for weight in by.values())) for by in weights]
    return _Vector(weights, norms, length)


def _score(caption: str, references: Sequence[str], frequencies: DocumentFrequencies) -> float:
    candidate = _vector(caption, frequencies)
    total = 0.0
    for text in references:
        reference = _vector(text, frequencies)
        penalty = math.exp(-((candidate.length - reference.length) ** 2) / (2 * _SIGMA**2))
        for n in range(_LONGEST):
            norm = candidate.norms[n] * reference.norms[n]
            if norm == 0:
                continue
            # Clipped to the reference's weight, so that repeating a word earns nothing.
            overlap = sum(
                min(weight, reference.weights[n].get(ngram, 0.0))
                * reference.weights[n].get(ngram, 0.0)
                for ngram, weight in candidate.weights[n].items()
            )
            total += penalty * overlap / norm
    return 10.0 * total / _LONGEST / len(references)
