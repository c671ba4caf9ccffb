"""The reader interface and its options."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from vila2.data.readers.files.tree import Tree, entries_of, tree_of
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

    @property
    def bare(self) -> bool:
        """Whether the source has images and not a single text: they are to be captioned."""
        return False

    def tree(self) -> Tree:
        """The files that `read` reads: a version is named by them, and the store is sent them."""
        if self.path.is_dir():
            return tree_of(self.path, follows=self.follows)
        if is_pattern(self.path) and not self.path.exists():
            names = [file.name for file in self.path.parent.glob(self.path.name)]
            return entries_of(self.path.parent, names, self.follows)
        held = entries_of(self.path.parent, [self.path.name], self.follows)
        return replace(held, entry=self.path.name)

    def follows(self, name: str, path: Path) -> bool:
        """Whether a link to a file, by its path below the folder, is read as the file."""
        return True

    @abstractmethod
    def read(self) -> Iterator[RawSample]:
        """Yield every sample, including those that cannot be read, in a stable order."""

    @abstractmethod
    def count(self) -> int | None:
        """About how many samples `read` will yield, or `None` if unknown before reading."""


def is_pattern(path: Path) -> bool:
    """Whether the last part of `path` is a pattern such as `*.tar`."""
    return any(mark in path.name for mark in "*?[")
