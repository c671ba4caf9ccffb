"""Objects as files below one directory."""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from services.chassis.storage.objects import ObjectStore, StoredObject, checked
from vila2.system.files import (
    create_atomically,
    directory_atomically,
    file_atomically,
    is_partial,
    write_atomically,
)

_PRIVATE = 0o600


class DirectoryObjects(ObjectStore):
    """An object store on a local or shared file system."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: bytes) -> None:
        """Write a temporary file, then rename it: readers see the old or the new object."""
        write_atomically(self._target(key), data, mode=_PRIVATE)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write a temporary file, then link it: linking to an existing name fails."""
        return create_atomically(self._target(key), data, mode=_PRIVATE)

    def put_file(self, key: str, path: Path) -> None:
        """Copy to a temporary file, then rename it."""
        with file_atomically(self._target(key), mode=_PRIVATE) as partial:
            shutil.copyfile(path, partial)

    def get(self, key: str) -> bytes:
        """Read a file; raises `KeyError` if it is missing."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise KeyError(key) from error

    def fetch(self, key: str, path: Path) -> None:
        """Copy the file; raises `KeyError` if it is missing."""
        try:
            shutil.copyfile(self._path(key), path)
        except (FileNotFoundError, IsADirectoryError) as error:
            raise KeyError(key) from error

    def exists(self, key: str) -> bool:
        """Whether the file is there."""
        return self._path(key).is_file()

    def delete(self, key: str) -> None:
        """Remove the file if it is there."""
        self._path(key).unlink(missing_ok=True)

    def keys(self, prefix: str | None = None) -> Iterator[str]:
        """Keys of the files below a directory; temporary files are not listed."""
        base = self._root if prefix is None else self._path(prefix)
        found = (path.relative_to(self._root) for path in base.rglob("*") if path.is_file())
        whole = (path for path in found if not any(map(is_partial, path.parts)))
        yield from sorted(path.as_posix() for path in whole)

    def entries(self, prefix: str) -> Iterator[StoredObject]:
        """Files below a directory; one that is deleted meanwhile is left out."""
        for path in self._path(prefix).rglob("*"):
            inside = path.relative_to(self._root)
            if any(map(is_partial, inside.parts)):
                continue
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                if stat.S_ISREG(found.st_mode):
                    yield StoredObject(inside.as_posix(), found.st_size, found.st_mtime)

    def put_directory(self, prefix: str, directory: Path) -> None:
        """Copy a directory to a temporary one, then rename it into place."""
        target = self._target(prefix)
        with contextlib.suppress(OSError):
            target.rmdir()  # what is left of a folder whose objects were deleted
        if target.exists():
            return  # directory prefixes are content-addressed: the files are identical
        with directory_atomically(target, or_keep=True, mode=0o700) as partial:
            shutil.copytree(directory, partial, dirs_exist_ok=True)

    def local(self, key: str) -> Path:
        """The file itself."""
        return self._path(key)

    def _target(self, key: str) -> Path:
        """The object's path; creates its parent folder."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _path(self, key: str) -> Path:
        return self._root / checked(key)
