"""Objects as files below one directory."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.chassis.storage.objects import ObjectStore, checked

_PARTIAL = ".partial-"


class DirectoryObjects(ObjectStore):
    """An object store on a local or shared file system."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)

    def put(self, key: str, data: bytes) -> None:
        """Write aside, then rename: a reader sees the old object or the new one."""
        with self._aside(key) as (partial, target):
            partial.write_bytes(data)
            partial.replace(target)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write aside, then link: a link to a name that is taken fails."""
        with self._aside(key) as (partial, target):
            partial.write_bytes(data)
            try:
                target.hardlink_to(partial)
            except FileExistsError:
                return False
        return True

    def put_file(self, key: str, path: Path) -> None:
        """Copy aside, then rename."""
        with self._aside(key) as (partial, target):
            shutil.copyfile(path, partial)
            partial.replace(target)

    @contextmanager
    def _aside(self, key: str) -> Iterator[tuple[Path, Path]]:
        """A file beside the object's own, and that; what is left of the first goes at the end."""
        target = self._path(key)
        target.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=_PARTIAL)
        os.close(descriptor)
        try:
            yield Path(name), target
        finally:
            Path(name).unlink(missing_ok=True)

    def get(self, key: str) -> bytes:
        """Read a file; a missing one is a `KeyError`."""
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError) as error:
            raise KeyError(key) from error

    def fetch(self, key: str, path: Path) -> None:
        """Copy the file; a missing one is a `KeyError`."""
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
        """Keys of the files below a directory; what is half written is not listed."""
        base = self._root if prefix is None else self._path(prefix)
        found = (path.relative_to(self._root) for path in base.rglob("*") if path.is_file())
        whole = (path for path in found if not any(p.startswith(_PARTIAL) for p in path.parts))
        yield from sorted(path.as_posix() for path in whole)

    def put_directory(self, prefix: str, directory: Path) -> None:
        """Copy a directory in whole: aside first, then renamed into place."""
        target = self._path(prefix)
        if target.exists():
            return  # prefixes of directories are content-addressed: the same files are there
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(dir=target.parent, prefix=_PARTIAL))
        try:
            shutil.copytree(directory, partial, dirs_exist_ok=True)
            partial.rename(target)
        except BaseException as error:
            shutil.rmtree(partial, ignore_errors=True)
            # Another process was faster.
            if not (isinstance(error, OSError) and target.is_dir()):
                raise

    def local(self, key: str) -> Path:
        """The file itself."""
        return self._path(key)

    def _path(self, key: str) -> Path:
        return self._root / checked(key)
