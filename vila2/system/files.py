"""Atomic creation and replacement of files and folders.

Each is written beside its target and then renamed or linked, so a reader sees either the old or the
new content, and a writer that fails leaves nothing. A killed writer may leave a hidden file
(`is_partial`). Nothing is flushed to disk: a power failure may lose a new file.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_PREFIX = ".partial-"


def is_partial(name: str) -> bool:
    """Whether a name is that of an unfinished file or folder, possibly of a killed writer."""
    return name.startswith(_PREFIX)


@contextmanager
def file_atomically(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """Yield a temporary path beside `path`, which replaces it at the end of the block.

    The file is created empty with `mode` less the umask, before anything is written to it.
    """
    partial = _beside(path)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def make_private(path: Path) -> Path:
    """Create an empty file that only its owner may read, unless it exists; returns it."""
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    return path


def write_atomically(path: Path, data: str | bytes, *, mode: int = 0o666) -> None:
    """Write or replace a file; text is written in UTF-8."""
    with file_atomically(path, mode=mode) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def create_atomically(path: Path, data: str | bytes, *, mode: int = 0o666) -> bool:
    """Write a file unless it exists; of several concurrent writers, one returns True."""
    written = _beside(path)
    write_atomically(written, data, mode=mode)
    try:
        path.hardlink_to(written)
    except FileExistsError:
        return False
    finally:
        written.unlink()
    return True


@contextmanager
def directory_atomically(
    path: Path, *, partial: Path | None = None, or_keep: bool = False, mode: int = 0o777
) -> Iterator[Path]:
    """Yield a new folder beside `path`, which is renamed to it at the end of the block.

    `partial` is its name until then, so that leftovers of a killed writer can be found; an existing
    one is removed first. At the end, `path` must be missing or empty; with `or_keep`, a folder of
    the same content by another writer is kept instead.
    """
    partial = partial or _beside(path)
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True, mode=mode)
    try:
        yield partial
        try:
            partial.rename(path)
        except OSError:
            if not (or_keep and path.is_dir()):
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _beside(path: Path) -> Path:
    return path.with_name(f"{_PREFIX}{secrets.token_hex(8)}")
