"""Files and folders that appear whole or not at all.

Each is written beside its place and then renamed or linked, so a reader sees what was there before
or what is there now, and a writer that fails leaves nothing. A writer that is killed may leave a
hidden name behind (`is_partial`). Nothing is flushed to disk: a power cut may lose a new file.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PREFIX = ".partial-"


def is_partial(name: str) -> bool:
    """Whether a file or folder of that name is being written, or was left by a killed writer."""
    return name.startswith(_PREFIX)


@contextmanager
def file_atomically(path: Path, *, mode: int = 0o666) -> Iterator[Path]:
    """A file to write, beside `path`, that replaces it at the end of the block.

    It is made with `mode` less the umask, before its first byte is written.
    """
    partial = _beside(path)
    os.close(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, data: str | bytes, *, mode: int = 0o666) -> None:
    """Write or replace a file; text is written in UTF-8."""
    with file_atomically(path, mode=mode) as partial:
        partial.write_bytes(data.encode() if isinstance(data, str) else data)


def create_atomically(path: Path, data: str | bytes, *, mode: int = 0o666) -> bool:
    """Write a file unless it is there; of several writers at once, one returns True."""
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
    """A new folder to fill, beside `path`, that is renamed to it at the end of the block.

    `partial` is its name until then, for who has to find what a killed writer left; what is there
    is removed first. `path` must then be missing or empty, or with `or_keep` may be a folder that
    another writer made of the same content: that one stays.
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
