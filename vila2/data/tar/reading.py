"""Reads untrusted tars as a stream of plain files.

Links, devices, sparse files, path traversal and oversize members are refused. So is a tar that is
truncated or has a damaged header midway, at which Python's `tarfile` would stop silently and lose
the rest. What follows an end mark is read as well, as by `tar -i`: tars are joined with `cat`.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast

from vila2.data.errors import ShardError

MAX_MEMBER_BYTES = 64 * 1024 * 1024
# A tar of a million tiny files costs a million headers and holds no images worth having.
MAX_MEMBERS = 200_000
# Long names and PAX headers are read into memory whole before they can be inspected.
_MAX_HEADER_BYTES = 1 << 20
_MAX_EXPANSION = 50


@dataclass(frozen=True, slots=True)
class Member:
    """A file of a tar: its name, its bytes, and where they begin in the tar.

    `unfit` says why it is not read, in which case there are no bytes; empty for a plain file.
    """

    name: str
    data: bytes
    offset: int
    unfit: str = ""


class BehindEnd(ShardError):
    """What follows a tar's end mark is no tar; every member before it was read."""


class _Tail(tarfile.ReadError):
    """Bytes behind an end mark."""


class _StrictHeader(tarfile.TarInfo):
    """A header that must be present and intact; only behind an end mark may there be none."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> tarfile.TarInfo:  # type: ignore[override]
        ended, tar._ended = getattr(tar, "_ended", False), False  # type: ignore[attr-defined]
        try:
            made = super().fromtarfile(tar)
        except tarfile.EOFHeaderError:  # type: ignore[attr-defined]  # a block of zeros: an end
            tar._ended = True  # type: ignore[attr-defined]
            raise
        except tarfile.HeaderError as error:
            if ended and isinstance(error, tarfile.EmptyHeaderError):  # type: ignore[attr-defined]
                tar._ended = True  # type: ignore[attr-defined]  # an empty tar is asked twice
                raise
            if ended:
                raise _Tail(f"bytes that are no tar follow its end: {error}") from error
            raise tarfile.ReadError(f"it is cut or damaged: {error}") from error
        return made

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _StrictHeader:
        if len(buf) < tarfile.BLOCKSIZE and not any(buf):
            buf = b""  # zeros up to the block size of a tool
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
    source: bytes | BinaryIO | Path,
    *,
    compressed: bool = False,
    limit: int = MAX_MEMBERS,
    keep_unfit: bool = False,
) -> Iterator[Member]:
    """Yield a tar's plain files, in order.

    A folder's own entry and a leading "./" are dropped. `compressed` also accepts gzip, bzip2 and
    xz: never set it for an upload, since a small file may then expand without limit. With
    `keep_unfit` a link, device, sparse, oversize or escaping member is yielded without bytes and
    costs no other. Raises `ShardError`; members before that point were yielded.
    """
    if isinstance(source, Path):
        with source.open("rb") as opened:
            yield from members_of(opened, compressed=compressed, limit=limit, keep_unfit=keep_unfit)
        return
    stream = io.BytesIO(source) if isinstance(source, bytes) else source
    plain = _decompressed(stream) if compressed else stream
    # Members are read directly from a seekable source; a pipe is read sequentially.
    direct = plain is stream and stream.seekable()
    mode: Literal["r|", "r:"] = "r:" if direct else "r|"
    try:
        with tarfile.open(
            fileobj=plain, mode=mode, tarinfo=_StrictHeader, ignore_zeros=True
        ) as tar:
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
                total += tarfile.BLOCKSIZE
                unfit = None if member.isdir() else _unfit(member)
                if not member.isdir() and unfit is None:
                    total += member.size
                if compressed and total > _MAX_EXPANSION * (stream.tell() + _MAX_HEADER_BYTES):
                    raise ShardError(
                        f"it expands to more than {_MAX_EXPANSION} times its size",
                        fix="Images do not compress like that; pack them without compression",
                    )
                if member.isdir():
                    continue
                if unfit is not None:
                    if not keep_unfit:
                        raise unfit
                    yield Member(member.name.removeprefix("./"), b"", 0, str(unfit))
                    continue
                data = _bytes_of(tar, member, stream if direct else None)
                yield Member(member.name.removeprefix("./"), data, member.offset_data)
    except ShardError:
        raise
    except _Tail as error:
        raise BehindEnd(str(error), fix="Cut them off, or pack it again") from error
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


def _decompressed(stream: BinaryIO) -> BinaryIO:
    """The tar in a compressed stream; unlike `tarfile`, also what was joined with `cat`."""
    head = stream.read(6)
    stream.seek(-len(head), io.SEEK_CUR)
    if head.startswith(b"\x1f\x8b"):
        return cast("BinaryIO", gzip.GzipFile(fileobj=stream, mode="rb"))
    if head.startswith(b"BZh"):
        return cast("BinaryIO", bz2.BZ2File(stream))
    if head.startswith((b"\xfd7zXZ\x00", b"\x5d\x00\x00")):
        return cast("BinaryIO", lzma.LZMAFile(stream))
    return stream


def _unfit(member: tarfile.TarInfo) -> ShardError | None:
    """Why a member is not read, or `None`."""
    if not member.isfile() or member.issparse():
        return ShardError(
            f"member {member.name!r} is a link, device or sparse file",
            field=member.name,
            fix="Pack plain files only",
        )
    if member.name.startswith("/") or ".." in member.name.split("/"):
        return ShardError(
            f"member {member.name!r} points outside the tar",
            field=member.name,
            fix="Pack with relative names",
        )
    if member.size > MAX_MEMBER_BYTES:
        return ShardError(
            f"member {member.name!r} has {member.size:,} bytes, the limit is {MAX_MEMBER_BYTES:,}",
            field=member.name,
            fix="Pack it smaller, or leave it out",
        )
    return None
