"""Samples (one image with its texts) before and after validation. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Turn:
    """A question about the image and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Sample:
    """An admitted sample of a dataset version.

    `key` is unique within the version and matches `[A-Za-z0-9_-]+`; `image` is the encoded image as
    it was submitted, `sha256` its digest, `width` and `height` its size in pixels; `caption` is the
    original text and empty if the sample has only `turns` (supervised data) or `items` (benchmark
    questions); `more_captions` are further ones of the source, which an assembly may draw from.
    `source` is the path or address that it came from, `source_ids` the ids under which its source
    lists it, such as LLaVA's `id`; none if that is `key` itself.
    """

    key: str
    image: bytes
    extension: str
    sha256: str
    width: int
    height: int
    caption: str
    turns: tuple[Turn, ...] = ()
    items: tuple[Mapping[str, Any], ...] = ()
    source: str = ""
    source_ids: tuple[str, ...] = ()
    more_captions: tuple[str, ...] = ()

    @property
    def source_id(self) -> str:
        """The id by which other tools know the sample: the source's own, else `key`."""
        return self.source_ids[0] if self.source_ids else self.key


@dataclass(frozen=True, slots=True)
class RawSample:
    """An unvalidated sample, as a reader yields it.

    `problem` is set if the sample could not be read, as "reason: detail"; it is then counted as
    rejected.
    """

    key: str
    source: str
    image: bytes | None
    caption: str | None = None
    turns: tuple[Turn, ...] = ()
    items: tuple[Mapping[str, Any], ...] = ()
    problem: str | None = None
    source_ids: tuple[str, ...] = ()
    more_captions: tuple[str, ...] = ()

    def texts(self) -> Iterator[str]:
        """Every text of the sample: captions, turns and the fields of questions."""
        yield self.caption or ""
        yield from self.more_captions
        for turn in self.turns:
            yield from (turn.question, turn.answer)
        for item in self.items:
            for value in item.values():
                held = value if isinstance(value, list) else [value]
                yield from (text for text in held if isinstance(text, str))


@dataclass(frozen=True, slots=True)
class Rejected:
    """A rejected sample: a stable `reason` slug and a sentence on how to fix it."""

    key: str
    source: str
    reason: str
    detail: str
