"""Which splits are wanted, and what a split's samples become. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from vila2.data.errors import DataError
from vila2.data.sample import RawSample, Turn
from vila2.data.text import clean_text
from vila2.system.numbers import counted

QUESTION = "Describe the image."
METRIC = "cider"
# What captioned images become in a split of this name; in any other they stay as they are.
ROLES: Mapping[str, Literal["conversations", "benchmark"]] = {
    "sft": "conversations", "dev": "benchmark", "test": "benchmark",
}  # fmt: skip
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,30}")
_FIX = "Write names and numbers of images, such as sft=300,test=300"


@dataclass(frozen=True, slots=True)
class SplitPlan:
    """Sizes of the splits by name, in alphabetical order, and the seed of the choice."""

    sizes: Mapping[str, int]
    seed: int = 0

    @property
    def total(self) -> int:
        """Images in all splits together."""
        return sum(self.sizes.values())

    def check(self, available: int, rest: str) -> None:
        """Raise `DataError` unless `available` images fill the splits and leave one for `rest`."""
        if available <= self.total:
            wanted = " + ".join(f"{size:,} for {name}" for name, size in self.sizes.items())
            raise DataError(
                f"there are {counted(available, 'image')} with a text that can be admitted; "
                f"{wanted} leave none for {rest}",
                field="split",
                fix=f"Ask for fewer than {available:,} in all",
            )


def parse_splits(text: str, *, seed: int = 0) -> SplitPlan:
    """`sft=300,test=300` as a plan; raises `DataError` for anything else."""
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = (piece.strip() for piece in part.partition("="))
        if not _NAME.fullmatch(name) or not size.isascii() or not size.isdigit() or int(size) < 1:
            raise DataError(f"{part.strip()!r} is not NAME=NUMBER", field="split", fix=_FIX)
        if name in sizes:
            raise DataError(f"{name!r} occurs twice", field="split", fix=_FIX)
        sizes[name] = int(size)
    return SplitPlan(dict(sorted(sizes.items())), seed)


def as_conversation(raw: RawSample) -> RawSample:
    """The sample with its captions as answers to `QUESTION`."""
    turns = tuple(Turn(QUESTION, caption) for caption in _captions(raw))
    return replace(raw, caption=None, more_captions=(), turns=turns)


def as_question(raw: RawSample, benchmark: str) -> RawSample:
    """The sample as a benchmark's question, of which any of its captions is an answer."""
    captions = _captions(raw)
    item = {
        "id": raw.key,
        "benchmark": benchmark,
        "kind": "caption",
        "question": QUESTION,
        "answers": list(captions),
        "metric": METRIC,
    }
    return replace(raw, caption=None, more_captions=(), items=(item,) if captions else ())


def _captions(raw: RawSample) -> tuple[str, ...]:
    given = (raw.caption or "", *raw.more_captions)
    return tuple(text for text in given if clean_text(text))
