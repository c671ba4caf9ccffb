"""Whether a caption is in a language that its gate asks for.

English alone, the default, is detected by script and by function words. That takes two thresholds
instead of a language model, and does not need the extra `language`. It is reliable for the cases
that matter: a captioner that answers in another language. A single foreign word in an English
caption passes, and so does a short text in another language of Latin script ("Un perro."). All
other choices use the detector.
"""

from __future__ import annotations

from services.caption.gate import detector
from services.caption.gate.candidate import Candidate
from services.caption.gate.words import words_of

ENGLISH = "en"
_FOREIGN_LETTERS = 0.2
# Function words that are not English words and not common parts of names ("de", "la", "van").
_FOREIGN = frozenset(
    word
    for line in (
        "der das und ein eine einen einem einer ist auf mit dem nicht sich steht vor neben sind",
        "le les un une des est dans avec sur et qui aux une sont sous près elle",
        "el los las una con está están sobre junto por que muy",
        "il gli nel nella sono uno della sulla che è",
        "um uma com os em está ao dos na perto",
        "een het op zijn naast aan wordt staat",
        "och ett på är som av",
        "og et på er til ved",
        "amb els dels unha ao nun",
        "și pe cu din care este lângă într-un într-o",
        "na jest się przy oraz który która",
        "je se ve při vedle který která pri ktorý uz pored koji koja za sa",
        "bir ve ile için olan",
        "egy az és van mellett",
        "ja ovat kanssa vieressä",
        "ir ar uz su prie ant",
        "dan di yang sebuah seekor dengan",
        "một và của trong trên đang với",
        "wa kwa",
        "ang ng sa mga",
        "një dhe në të",
        "með og á í er",
        "eta da dago",
        "kaj kun estas",
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
# One foreign function word among this many words without an English one is enough.
_WITHOUT_ENGLISH = 5


def language(candidate: Candidate) -> bool:
    """Whether the caption is in none of the languages; quoted text does not count."""
    accepted = candidate.limits.languages
    if not accepted:
        return False
    text = candidate.own_words
    if not any(character.isalpha() for character in text):
        text = candidate.text
    if accepted == (ENGLISH,):
        return _foreign_script(text) or _foreign_words(text)
    return detector.is_other_language(text, accepted)


def may_be_english(candidate: Candidate) -> bool:
    """Whether checks that match English phrases apply to the caption.

    They always apply if only English is requested. If English is one of several accepted languages,
    they apply unless the text is in another script or has at least as many function words of other
    languages ("Description : un chien" is French). If English is not accepted, most function words
    must be English: "Null." is German for zero.
    """
    accepted = candidate.limits.languages
    if accepted == (ENGLISH,):
        return True
    english, foreign = _function_words(candidate.own_words)
    if accepted and ENGLISH not in accepted:
        return english > foreign
    return not _foreign_script(candidate.own_words) and (not foreign or english > foreign)


def reads_as_english(candidate: Candidate) -> bool:
    """Whether English is among the requested languages and the caption seems to be in it."""
    accepted = candidate.limits.languages
    if accepted and ENGLISH not in accepted:
        return False
    english, foreign = _function_words(candidate.own_words)
    return english > foreign or (english == foreign == 0 and accepted == (ENGLISH,))


def _foreign_script(text: str) -> bool:
    scripts = detector.scripts_of(text)
    letters = sum(scripts.values())
    return letters - scripts["LATIN"] > _FOREIGN_LETTERS * letters


def _foreign_words(text: str) -> bool:
    english, foreign = _function_words(text)
    if not english and foreign:
        return foreign >= _LEAST_FOREIGN or len(words_of(text)) >= _WITHOUT_ENGLISH
    return foreign >= _LEAST_FOREIGN and foreign > english


def _function_words(text: str) -> tuple[int, int]:
    """Number of English function words, and of function words of other languages."""
    # Capitalised words inside a text are names or signs: "LOS ANGELES", "Café des Arts".
    words = text.split()
    small = words_of(" ".join(w for i, w in enumerate(words) if i == 0 or w[0].islower()))
    return sum(word in _ENGLISH for word in small), sum(word in _FOREIGN for word in small)
