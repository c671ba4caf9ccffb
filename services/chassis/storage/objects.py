"""The object store port: bytes under keys, whole or absent.

Keys are relative paths of plain segments; anything that could leave the store is refused here, so
no adapter has to think of it.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9._\-]*(/[A-Za-z0-9_\-][A-Za-z0-9._\-]*)*")


def checked(key: str) -> str:
    """Return `key`, or raise `ValueError` where it is not a plain relative path."""
    if not _KEY.fullmatch(key) or len(key) > 900:
        raise ValueError(f"not an object key: {key!r}")
    return key


class ObjectStore(ABC):
    """Where shards, layers and models are kept."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, replacing what was there, all at once."""

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store `data` unless there is an object under `key`; of several at once, one stores it."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> None:
        """Store a file's content as `put` does, without holding it in memory."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Read an object; raises `KeyError` where there is none."""

    @abstractmethod
    def fetch(self, key: str, path: Path) -> None:
        """Write an object to a new file, without holding it in memory; `KeyError` as of `get`."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is an object under `key`."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; nothing happens where there is none."""

    @abstractmethod
    def keys(self, prefix: str | None = None) -> Iterator[str]:
        """Keys below `prefix`, or all there are, sorted."""

    @abstractmethod
    def put_directory(self, prefix: str, directory: Path) -> None:
        """Store a directory's files under `prefix`."""

    @abstractmethod
    def local(self, key: str) -> Path:
        """A path at which this object, or all below this prefix, can be read locally."""
