"""Language detection by lingua, from the optional extra `language`.

lingua compares letter n-grams of 75 languages, offline. Its models come in the wheel (96 MB) and
use 1.4 GB of memory in a process that has seen most languages. A caption takes one to three
milliseconds. The low-accuracy mode uses a fifth of the memory, but at thresholds with the same
recall it rejects several per cent of the human captions of some languages.
"""

from __future__ import annotations

import importlib.util
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from functools import lru_cache
from importlib import metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lingua import LanguageDetector

DISTRIBUTION = "lingua-language-detector"
# A caption of 20 letters or more, without names, is rejected if another language is ten times as
# likely as all requested ones together. `bench/gate.py` measures detections and false rejections.
_LEAST_LETTERS = 20
_TIMES_AS_LIKELY = 10.0
# Below this, the probability is spread over so many languages that none is credible.
_LEAST_CONFIDENCE = 0.1
# Names and brands are in Latin letters everywhere; other scripts have no such exception.
_OTHER_LETTERS = 0.2
_CYRILLIC = ("CYRILLIC",)
# First words of Unicode's letter names; languages not listed here are written in Latin.
_SCRIPTS = {
    **dict.fromkeys(("be", "bg", "kk", "mk", "mn", "ru", "uk"), _CYRILLIC),
    "sr": (*_CYRILLIC, "LATIN"),
    **dict.fromkeys(("ar", "fa", "ur"), ("ARABIC",)),
    **dict.fromkeys(("hi", "mr"), ("DEVANAGARI",)),
    "zh": ("CJK", "BOPOMOFO"),
    "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HALFWIDTH", "IDEOGRAPHIC"),
    "ko": ("HANGUL", "CJK"),
    "bn": ("BENGALI",),
    "el": ("GREEK",),
    "gu": ("GUJARATI",),
    "he": ("HEBREW",),
    "hy": ("ARMENIAN",),
    "ka": ("GEORGIAN",),
    "pa": ("GURMUKHI",),
    "ta": ("TAMIL",),
    "te": ("TELUGU",),
    "th": ("THAI",),
}
_LATIN = ("LATIN",)
# One letter of these scripts carries as much information as several of an alphabet.
_LATIN_LETTERS = re.compile(r"[A-Za-zÀ-ɏ]+")
_WORD_LETTERS = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "THAI"})
_LETTERS_WEIGHT = 3


def installed_version() -> str | None:
    """The version of the installed detector; `None` if the extra is not installed."""
    if importlib.util.find_spec("lingua") is None:
        return None
    return metadata.version(DISTRIBUTION)


def known_languages() -> frozenset[str]:
    """ISO 639-1 codes of all languages that the detector distinguishes."""
    from lingua import Language

    return frozenset(each.iso_code_639_1.name.lower() for each in Language.all())


def is_other_language(text: str, accepted: Sequence[str]) -> bool:
    """Whether the text is, with confidence, in none of the accepted languages; short texts pass."""
    scripts = scripts_of(text)
    own = {script for code in accepted for script in _SCRIPTS.get(code, _LATIN)}
    other = sum(count for script, count in scripts.items() if script not in (*own, *_LATIN))
    if other > _OTHER_LETTERS * scripts.total():
        return True
    text = _without_names(text, own)
    if _weight(scripts_of(text)) < _LEAST_LETTERS:
        return False
    confidence = _confidences(text)
    best = max(confidence.values(), default=0.0)
    asked = sum(confidence.get(code, 0.0) for code in accepted)
    return best >= _LEAST_CONFIDENCE and best >= _TIMES_AS_LIKELY * asked


def _without_names(text: str, own: Collection[str]) -> str:
    """The text without likely names: words with capitals or digits, except the first word.

    Latin letters in a text that is otherwise in another script of the accepted languages also count
    as names. On prose with many names this reduces false rejections from one or two per cent to a
    quarter of that.
    """
    words = text.split()
    kept = [word for i, word in enumerate(words) if i == 0 or not _is_name(word)]
    scripts = scripts_of(text)
    if "LATIN" not in own and 2 * sum(scripts[script] for script in own) >= scripts["LATIN"]:
        return _LATIN_LETTERS.sub(" ", " ".join(kept))
    return " ".join(kept)


def _is_name(word: str) -> bool:
    return any(
        character.isupper() or character.isdigit() or character in "_@" for character in word
    )


def _weight(scripts: Counter[str]) -> int:
    return sum(
        count * (_LETTERS_WEIGHT if script in _WORD_LETTERS else 1)
        for script, count in scripts.items()
    )


def scripts_of(text: str) -> Counter[str]:
    """Letters by script; a script is the first word of its letters' Unicode names."""
    return Counter(_script(character) for character in text if character.isalpha())


@lru_cache(maxsize=8192)
def _script(letter: str) -> str:
    if letter.isascii():
        return "LATIN"
    name = unicodedata.name(letter, "")
    if "LATIN" in name:  # also "FULLWIDTH LATIN"
        return "LATIN"
    return name.partition(" ")[0]


def _confidences(text: str) -> dict[str, float]:
    """ISO 639-1 code -> probability; the probabilities sum to one."""
    return {
        each.language.iso_code_639_1.name.lower(): each.value
        for each in _detector().compute_language_confidence_values(text)
    }


@lru_cache(maxsize=1)
def _detector() -> LanguageDetector:
    try:
        from lingua import LanguageDetectorBuilder
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "gate.language needs lingua where captions are made: `pip install 'vila2[language]'`"
        ) from error
    return LanguageDetectorBuilder.from_all_languages().build()
