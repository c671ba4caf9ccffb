"""Captions of people in several languages, and planted captions that nobody would write."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from services.caption.gate.words import without_blanks, words_of

# Names of locales whose language has another code.
_CODES = {"no": "nb"}
_TRANSLATION = ".utf8="


def read_captions(paths: Sequence[Path], language: str) -> dict[str, list[str]]:
    """Language -> different captions, of all files and folders; exits with a message where none is.

    `language` is that of CSV and JSON files without a column for it.
    """
    found: dict[str, dict[str, None]] = {}
    for path in paths:
        for file in _files(path):
            try:
                for code, caption in _captions_of(file, language):
                    found.setdefault(code, {})[caption] = None
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise SystemExit(f"{file}: no captions to read ({error!r}); see --help") from error
    if not found:
        raise SystemExit(f"no captions in {', '.join(map(str, paths))}; see --help")
    return {code: list(captions) for code, captions in sorted(found.items())}


def _files(path: Path) -> Iterable[Path]:
    if not path.is_dir():
        return [path]
    return [
        each
        for pattern in ("captions.csv", "captions_*.json", "*.txt")
        for each in sorted(path.rglob(pattern))
    ]


def _captions_of(file: Path, language: str) -> Iterator[tuple[str, str]]:
    if file.suffix == ".json":
        for row in json.loads(file.read_text(encoding="utf-8"))["annotations"]:
            yield language, str(row["caption"]).strip()
    elif file.suffix == ".txt":
        yield from _translations(file.read_text(encoding="utf-8", errors="ignore"))
    else:
        with file.open(newline="", encoding="utf-8") as opened:
            for row in csv.DictReader(opened):
                yield row.get("language") or language, row["caption"].strip()


def _translations(text: str) -> Iterator[tuple[str, str]]:
    """Tux Paint's layout: the English caption, then LOCALE.utf8=CAPTION, line by line.

    What was left in English is no translation.
    """
    english, *lines = text.splitlines() or [""]
    if not any(_TRANSLATION in line for line in lines):
        return
    yield "en", english.strip()
    for line in lines:
        locale, _, caption = line.partition(_TRANSLATION)
        code = locale.split("_")[0]
        if caption.strip() and caption.strip() != english.strip():
            yield _CODES.get(code, code), caption.strip()


def joined(words: Sequence[str]) -> str:
    """Words as a text, without blanks where their script has none."""
    return ("" if without_blanks(words) else " ").join(words)


Planter = Callable[[Sequence[str], Sequence[str], random.Random], Sequence[str]]
_DRAWN = 12
_FEW = 5


def _few(words: Sequence[str], chance: random.Random) -> list[str]:
    chosen = chance.sample(sorted(set(words)), min(_FEW, len(set(words))))
    return chance.choices(chosen, k=_DRAWN)


# name -> what it makes of a caption's words, given the words of all captions.
PLANTED: dict[str, Planter] = {
    "doubled": lambda words, _, __: [word for word in words for _ in range(2)],
    "loop": lambda words, _, __: list(words[:3]) * 4,
    "one word": lambda words, _, __: [words[0]] * 3,
    "one letter": lambda words, _, __: ["".join(words)[0] * 12],
    "few words": lambda words, _, chance: _few(words, chance),
    "shuffled": lambda words, _, chance: chance.sample(words, len(words)),
    "drawn": lambda _, vocabulary, chance: chance.choices(vocabulary, k=_DRAWN),
}
_LEAST_WORDS = 5


def planted(captions: Sequence[str], name: str, count: int) -> list[str]:
    """At most `count` captions of five words or more, spoilt; the same for the same captions.

    Captions with numbers are left out, which may recur by right.
    """
    spelled = [text for text in captions if not any(map(str.isdigit, text))]
    words = [found for found in map(words_of, spelled) if len(found) >= _LEAST_WORDS]
    chance = random.Random(f"{name} {count}")
    chosen = chance.sample(words, min(count, len(words)))
    vocabulary = [word for found in words for word in found]
    return [joined(PLANTED[name](found, vocabulary, chance)) for found in chosen]
