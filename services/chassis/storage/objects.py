"""The object store port: bytes under keys, whole or absent.

Keys are relative paths of plain segments; path traversal is rejected here, so adapters need no
checks of their own.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_KEY = re.compile(r"[A-Za-z0-9_\-][A-Za-z0-9._\-]*(/[A-Za-z0-9_\-][A-Za-z0-9._\-]*)*")


def checked(key: str) -> str:
    """Return `key`; raises `ValueError` if it is not a plain relative path."""
    if not _KEY.fullmatch(key) or len(key) > 900:
        raise ValueError(f"not an object key: {key!r}")
    return key


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's key, its size in bytes, and when it was written (Unix time, seconds)."""

    key: str
    bytes: int
    written_at: float


class ObjectStore(ABC):
    """Storage of shards, layers and models."""

    @abstractmethod
    def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, atomically replacing any existing object."""

    @abstractmethod
    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Store `data` if `key` is unused; returns whether it did. Atomic."""

    @abstractmethod
    def put_file(self, key: str, path: Path) -> None:
        """Store a file's content as `put` does, without holding it in memory."""

    @abstractmethod
    def get(self, key: str) -> bytes:
        """Read an object; raises `KeyError` if it is missing."""

    @abstractmethod
    def fetch(self, key: str, path: Path) -> None:
        """Stream an object to a new file; raises `KeyError` if it is missing."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is an object under `key`."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; a missing one is not an error."""

    @abstractmethod
    def keys(self, prefix: str | None = None) -> Iterator[str]:
        """Keys below `prefix`, or all keys, sorted."""

    @abstractmethod
    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """The objects below `prefix` with their sizes and times, in no particular order."""

    @abstractmethod
    def put_directory(self, prefix: str, directory: Path) -> None:
        """Store a directory's files under `prefix`."""

    @abstractmethod
    def local(self, key: str) -> Path:
        """A local path from which this object, or everything below this prefix, can be read."""

    def forget(self, key: str) -> None:  # noqa: B027  # most adapters keep no copies
        """Throw away a copy that `local` made of this object, if there is one."""
