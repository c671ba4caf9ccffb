"""Tars that strangers sent, read as a stream of plain files.

Links, devices, sparse files, names that climb and oversize members are refused. So is a tar that
ends early or has a damaged header in its middle, where Python's `tarfile` would stop in silence and
lose the rest.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal

from vila2.data.errors import ShardError

MAX_MEMBER_BYTES = 64 * 1024 * 1024


class _StrictHeader(tarfile.TarInfo):
    """A header whose absence or damage is an error, unless the end-of-archive mark stands there."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:  # type: ignore[override]
        try:
            return super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # two blocks of zeros: the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it is cut or damaged: {error}") from error


def plain_members(
    source: bytes | BinaryIO | Path, *, compressed: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of a tar's plain files, in order.

    A folder's own entry and a leading "./" are dropped. `compressed` also accepts gzip, bzip2 and
    xz: never set it for an upload, since a small file may then expand without limit. Raises
    `ShardError`; members before that point were yielded.
    """
    if isinstance(source, Path):
        with source.open("rb") as opened:
            yield from plain_members(opened, compressed=compressed)
        return
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    mode: Literal["r|*", "r|"] = "r|*" if compressed else "r|"
    try:
        with tarfile.open(fileobj=stream, mode=mode, tarinfo=_StrictHeader) as tar:
            while (member := tar.next()) is not None:
                if member.isdir():
                    continue
                _check(member)
                extracted = tar.extractfile(member)
                yield member.name.removeprefix("./"), extracted.read() if extracted else b""
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        if isinstance(error, ShardError):
            raise
        raise ShardError(f"not a readable tar ({error})", fix="Pack it again") from error


def _check(member: tarfile.TarInfo) -> None:
    if not member.isfile() or member.issparse():
        raise ShardError(
            f"member {member.name!r} is a link, device or sparse file",
            field=member.name,
            fix="Pack plain files only",
        )
    if member.name.startswith("/") or ".." in PurePosixPath(member.name).parts:
        raise ShardError(
            f"member {member.name!r} points outside the tar",
            field=member.name,
            fix="Pack with relative names",
        )
    if member.size > MAX_MEMBER_BYTES:
        raise ShardError(
            f"member {member.name!r} has {member.size:,} bytes, the limit is {MAX_MEMBER_BYTES:,}",
            field=member.name,
        )
