"""Text in requests: what databases, files and terminals can hold. Pure."""

from __future__ import annotations

import re
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StringConstraints

# NUL, which PostgreSQL refuses, and halves of surrogate pairs, which no encoding has.
_UNSTORABLE = re.compile("[\\x00\ud800-\udfff]")
# Controls, and marks without a width or that turn the direction: names would look like others.
_UNSEEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
MAX_PROMPT_CHARACTERS = 8_000

Prompt = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARACTERS)]
Prompts = Annotated[list[Prompt], Field(min_length=1, max_length=1_000)]


def text_problem(value: Any) -> str:
    """Where in a JSON value a text cannot be stored, and why; empty if all can.

    Values are looked at without recursion, since they may be nested deeply.
    """
    waiting: list[tuple[str, Any]] = [("", value)]
    while waiting:
        where, held = waiting.pop()
        if isinstance(held, str) and (found := _UNSTORABLE.search(held)):
            what = "a NUL character" if found[0] == "\0" else "half of a surrogate pair"
            return f"{where or 'a text'} holds {what}: remove it"
        if isinstance(held, dict):
            for name, below in held.items():
                waiting += [(where, name), (f"{where}.{name}".strip("."), below)]
        elif isinstance(held, list):
            waiting += [(f"{where}.{number}", below) for number, below in enumerate(held)]
    return ""


def seen(name: str) -> str:
    """The name itself; raises `ValueError` if a character of it cannot be seen."""
    for character in name:
        if unicodedata.category(character) in _UNSEEN:
            raise ValueError(
                f"holds U+{ord(character):04X}, which cannot be seen: write the name without it"
            )
    return name


Seen = AfterValidator(seen)
