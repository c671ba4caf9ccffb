"""One image with its texts, before and after it has been checked. Pure: nothing imported."""

from __future__ import annotations

from collections.abc import Mapping
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

    `key` is unique within the version and matches `[A-Za-z0-9_-]+`; `image` is the encoded image
    as it was submitted, `sha256` its digest, `width` and `height` its size in pixels; `caption` is
    the original text and empty where the sample has only `turns` (supervised data) or `items`
    (benchmark questions).
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


@dataclass(frozen=True, slots=True)
class RawSample:
    """What a reader yields: nothing about it has been checked.

    `problem` is set where the sample could not even be read, as "reason: detail"; it is then
    counted as rejected, never dropped.
    """

    key: str
    source: str
    image: bytes | None
    caption: str | None = None
    turns: tuple[Turn, ...] = ()
    items: tuple[Mapping[str, Any], ...] = ()
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Rejected:
    """A sample that was not admitted: a stable `reason` and a sentence that says what to do."""

    key: str
    source: str
    reason: str
    detail: str
