"""The reader interface and its options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vila2.data.sample import RawSample
from vila2.data.text import check_encoding


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Names of columns or fields; empty means that the reader tries the usual names.

    `split` names one split of a source that has several, or is `all`. `encoding` is that of texts
    without a mark of their own, such as cp1252; by default UTF-8.
    `captionless` accepts images without text, to be captioned by a model. With `structure_only`,
    admission checks an image's structure without decoding it: three times as fast, for data
    whose images were decoded before.
    """

    image_field: str = ""
    caption_field: str = ""
    url_field: str = ""
    captionless: bool = False
    structure_only: bool = False
    encoding: str = ""
    split: str = ""


class Reader(ABC):
    """Reads one format from a path; the constructor raises `DataError` if the path does not fit."""

    looks_like: ClassVar[str]
    # The column options that this reader supports; any other is an error.
    fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        self.path, self.options = path, options or ReadOptions()
        check_encoding(self.options.encoding)

    @abstractmethod
    def read(self) -> Iterator[RawSample]:
        """Yield every sample, including those that cannot be read, in a stable order."""

    @abstractmethod
    def count(self) -> int | None:
        """About how many samples `read` will yield, or `None` if unknown before reading."""


def is_pattern(path: Path) -> bool:
    """Whether the last part of `path` is a pattern such as `*.tar`."""
    return any(mark in path.name for mark in "*?[")
