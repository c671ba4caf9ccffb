"""The reader interface, its options, and shared helpers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vila2.data.sample import RawSample
from vila2.data.tar.reading import MAX_MEMBER_BYTES


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Names of columns or fields; empty means that the reader tries the usual names.

    `captionless` accepts images without text, to be captioned by a model. With `structure_only`,
    admission checks an image's structure without decoding it: three times as fast, for data
    whose images were decoded before.
    """

    image_field: str = ""
    caption_field: str = ""
    url_field: str = ""
    captionless: bool = False
    structure_only: bool = False


class Reader(ABC):
    """Reads one format from a path; the constructor raises `DataError` if the path does not fit."""

    looks_like: ClassVar[str]
    # The column options that this reader supports; any other is an error.
    fields: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, options: ReadOptions | None = None) -> None:
        self.path, self.options = path, options or ReadOptions()

    @abstractmethod
    def read(self) -> Iterator[RawSample]:
        """Yield every sample, including those that cannot be read, in a stable order."""

    @abstractmethod
    def count(self) -> int | None:
        """About how many samples `read` will yield, or `None` if unknown before reading."""


def is_pattern(path: Path) -> bool:
    """Whether the last part of `path` is a pattern such as `*.tar`."""
    return any(mark in path.name for mark in "*?[")


def load_image(root: Path, relative: str) -> tuple[bytes | None, str | None]:
    """Bytes of `root/relative`, or of `root/images/relative`; else `None` and the problem.

    Links and paths that leave `root` are refused, so a table cannot read files outside its folder.
    """
    try:
        inside = root.resolve()
        for candidate in (root / relative, root / "images" / relative):
            target = candidate.resolve()
            if not target.is_relative_to(inside):
                return None, (
                    f"path-outside: {relative!r} lies outside {root}; copy the image into the "
                    "folder and name it relative to it"
                )
            if target.is_file():
                size = target.stat().st_size
                if size > MAX_MEMBER_BYTES:
                    return None, (
                        f"image-too-large-bytes: the file has {size:,} bytes; save it with more "
                        "compression"
                    )
                return target.read_bytes(), None
    except (OSError, ValueError) as error:
        return None, f"image-unreadable: {error}; check the file's name and permissions"
    return None, f"image-missing: there is no file {relative!r}; add it or drop its row"
