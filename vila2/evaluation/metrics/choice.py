"""Questions with given options: how they are asked, and which option an answer names. Pure.

Two metrics have options. `choice` lists them under the question and reads the model's answer;
`likelihood` asks nothing, and takes the option that the model itself finds the most likely answer.
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

_LONE = re.compile(r"\s*[(\[]?([A-Z])\s*(?:[)\].:,]|$)")
_SAID = re.compile(r"\b[Aa]nswer(?:\s+is)?\s*:?\s*[(\[]?([A-Z])\s*(?:[)\].,]|$)")


def prompt_of(item: Mapping[str, Any]) -> str:
    """The prompt of a question; for `choice`, the options are listed beneath it."""
    question = str(item["question"])
    if item["metric"] != "choice":
        return question
    listed = [f"{letter}. {option}" for letter, option in _lettered(item["options"])]
    return "\n".join([question, *listed, "Answer with the letter of the right option."])


def letter_of(option: str, options: Sequence[str]) -> str:
    """The letter under which an option is listed; raises `ValueError` for one that is not."""
    return string.ascii_uppercase[list(options).index(option)]


def read_choice(answer: str, options: Sequence[str]) -> str:
    """The letter of the option that an answer names; empty if it names none, or several.

    Understood are, in this order: the option's own words and nothing else, a letter alone or set
    off by a bracket or a stop ("B", "(B)", "B. a dog"), "the answer is B", and the words of exactly
    one option within a longer answer.
    """
    letters = string.ascii_uppercase[: len(options)]
    said = _plain(answer)
    same = [
        letter
        for letter, option in zip(letters, options, strict=True)
        if said and said == _plain(option)
    ]
    if len(same) == 1:
        return same[0]
    for match in (_LONE.match(answer), _SAID.search(answer)):
        if match and match[1] in letters:
            return match[1]
    within = [
        letter
        for letter, option in zip(letters, options, strict=True)
        if _plain(option) and f" {_plain(option)} " in f" {said} "
    ]
    return within[0] if len(within) == 1 else ""


def _lettered(options: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(string.ascii_uppercase[: len(options)], options, strict=True))


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[\W_]+", " ", text.casefold()).split())
