"""What a reader is, and the list of formats."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from vila2.data.errors import DataError
from vila2.data.sample import RawSample


class Reader(ABC):
    """Reads one format from a path."""

    looks_like: ClassVar[str]

    def __init__(self, path: Path) -> None:
        self.path = path

    @abstractmethod
    def read(self) -> Iterator[RawSample]:
        """Yield every sample, including those that cannot be read, in a stable order."""

    @abstractmethod
    def count(self) -> int | None:
        """How many samples `read` will yield, or `None` where only reading tells."""


def _readers() -> dict[str, type[Reader]]:
    from vila2.data.readers.benchmark import BenchmarkReader
    from vila2.data.readers.folder import FolderReader
    from vila2.data.readers.llava import LlavaReader
    from vila2.data.readers.webdataset import WebDatasetReader

    return {
        "folder": FolderReader,
        "webdataset": WebDatasetReader,
        "llava": LlavaReader,
        "benchmark": BenchmarkReader,
    }


FORMATS = ("folder", "webdataset", "llava", "benchmark")


def open_reader(format: str, path: Path) -> Reader:
    """Make the reader of `format` for `path`; the error lists what there is."""
    readers = _readers()
    if format not in readers:
        shapes = "; ".join(f"{name}: {cls.looks_like}" for name, cls in readers.items())
        raise DataError(f"unknown format {format!r}", field="format", fix=f"Use one of {shapes}")
    if not path.exists():
        raise DataError("does not exist", file=str(path), fix="Check the path")
    return readers[format](path)


def read_inside(root: Path, relative: str) -> bytes | None:
    """Bytes of `root/relative`, `None` where it is missing; paths that leave `root` are refused."""
    target = (root / relative).resolve()
    if not target.is_relative_to(root.resolve()):
        raise DataError(
            f"{relative!r} points outside the submitted folder",
            file=str(root),
            field="image",
            fix="Use paths relative to the folder",
        )
    return target.read_bytes() if target.is_file() else None
