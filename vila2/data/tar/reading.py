"""Reads untrusted tars as a stream of plain files.

Links, devices, sparse files, path traversal and oversize members are refused. So is a tar that is
truncated or has a damaged header midway, at which Python's `tarfile` would stop silently and lose
the rest.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

from vila2.data.errors import ShardError

MAX_MEMBER_BYTES = 64 * 1024 * 1024
# A tar of a million tiny files costs a million headers and holds no images worth having.
MAX_MEMBERS = 200_000
# Long names and PAX headers are read into memory whole before they can be inspected.
_MAX_HEADER_BYTES = 1 << 20
_MAX_EXPANSION = 50


@dataclass(frozen=True, slots=True)
class Member:
    """A plain file of a tar: its name, its bytes, and where they begin in the tar."""

    name: str
    data: bytes
    offset: int


class _StrictHeader(tarfile.TarInfo):
    """A header that must be present and intact, except at the end-of-archive marker."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:  # type: ignore[override]
        try:
            made = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # two blocks of zeros: the end
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"it is cut or damaged: {error}") from error
        return made

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        header = super().frombuf(buf, encoding, errors)
        if header.type in _NAMING and header.size > _MAX_HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims {header.size:,} bytes")
        return header


# Headers that describe the next member: GNU long names and links, PAX and Solaris attributes.
_NAMING = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


def plain_members(
    source: bytes | BinaryIO | Path, *, compressed: bool = False
) -> Iterator[tuple[str, bytes]]:
    """Yield names and bytes of a tar's plain files, in order; raises as `members_of` does."""
    for member in members_of(source, compressed=compressed):
        yield member.name, member.data


def members_of(
    source: bytes | BinaryIO | Path, *, compressed: bool = False, limit: int = MAX_MEMBERS
) -> Iterator[Member]:
    """Yield a tar's plain files, in order.

    A folder's own entry and a leading "./" are dropped. `compressed` also accepts gzip, bzip2 and
    xz: never set it for an upload, since a small file may then expand without limit. Raises
    `ShardError`; members before that point were yielded.
    """
    if isinstance(source, Path):
        with source.open("rb") as opened:
            yield from members_of(opened, compressed=compressed, limit=limit)
        return
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    # Members are read directly from a seekable source; a pipe is read sequentially.
    direct = not compressed and stream.seekable()
    mode: Literal["r|*", "r|", "r:"] = "r|*" if compressed else "r:" if direct else "r|"
    try:
        with tarfile.open(fileobj=stream, mode=mode, tarinfo=_StrictHeader) as tar:
            count, total = 0, 0
            while (member := tar.next()) is not None:
                # tarfile keeps every header, which a stream does not need.
                tar.members = []  # type: ignore[attr-defined]
                count += 1
                if count > limit:
                    raise ShardError(
                        f"it holds more than {limit:,} files", fix="Pack several smaller tars"
                    )
                # Headers count too: empty files and folders are nothing else.
                total += tarfile.BLOCKSIZE + member.size
                if compressed and total > _MAX_EXPANSION * (stream.tell() + _MAX_HEADER_BYTES):
                    raise ShardError(
                        f"it expands to more than {_MAX_EXPANSION} times its size",
                        fix="Images do not compress like that; pack them without compression",
                    )
                if member.isdir():
                    continue
                _check(member)
                data = _bytes_of(tar, member, stream if direct else None)
                yield Member(member.name.removeprefix("./"), data, member.offset_data)
    except ShardError:
        raise
    except Exception as error:
        # tarfile and the decompressors raise many types on hostile headers (TypeError, zlib.error).
        raise ShardError(f"not a readable tar ({error})", fix="Pack it again") from error


def _bytes_of(tar: tarfile.TarFile, member: tarfile.TarInfo, stream: BinaryIO | None) -> bytes:
    if stream is None:
        extracted = tar.extractfile(member)
        return extracted.read() if extracted else b""
    stream.seek(member.offset_data)
    data = stream.read(member.size)
    if len(data) < member.size:
        raise tarfile.ReadError("unexpected end of data")
    return data


def _check(member: tarfile.TarInfo) -> None:
    if not member.isfile() or member.issparse():
        raise ShardError(
            f"member {member.name!r} is a link, device or sparse file",
            field=member.name,
            fix="Pack plain files only",
        )
    if member.name.startswith("/") or ".." in member.name.split("/"):
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
