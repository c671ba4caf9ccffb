"""Writing tars of plain files: POSIX ustar, no times, no owners, so equal files give equal bytes.

Headers are built from one template instead of by `tarfile`, which would dominate the cost of a
shard with many small members (bench/store.py). A test compares the bytes with those that `tarfile`
writes.
"""

from __future__ import annotations

import hashlib
import tarfile
from types import TracebackType
from typing import BinaryIO

from vila2.data.errors import ShardError
from vila2.data.tar.reading import MAX_MEMBER_BYTES

_BLOCK = tarfile.BLOCKSIZE
_NAME, _SIZE, _CHECKSUM = slice(0, 100), slice(124, 136), slice(148, 156)


def _template() -> bytes:
    info = tarfile.TarInfo("x")
    info.mode = 0o644
    header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
    header[_NAME] = bytes(100)
    # The checksum is computed with its own field set to blanks.
    header[_CHECKSUM] = b" " * 8
    return bytes(header)


_HEADER = _template()


class TarOut:
    """Writes members one after another; `digest` and `size` are those of the tar so far."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._digest = hashlib.sha256()
        self.size = 0

    def __enter__(self) -> TarOut:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        _: BaseException | None,
        __: TracebackType | None,
    ) -> None:
        if kind is None:
            self._end()

    @property
    def digest(self) -> str:
        """The sha256 of what was written, in hexadecimal."""
        return self._digest.hexdigest()

    def add(self, name: str, data: bytes) -> int:
        """Add a plain file; returns the offset of its bytes in the tar."""
        encoded = name.encode()
        if len(data) > MAX_MEMBER_BYTES:
            raise ShardError(
                f"member {name} has {len(data):,} bytes, the limit is {MAX_MEMBER_BYTES:,}",
                field=name,
            )
        if len(encoded) > 100:
            raise ShardError(f"member {name} has a name of more than 100 bytes", field=name[:100])
        header = bytearray(_HEADER)
        header[: len(encoded)] = encoded
        header[_SIZE] = b"%011o\0" % len(data)
        header[_CHECKSUM] = b"%06o\0 " % sum(header)
        offset = self.size + _BLOCK
        self._write(b"".join((header, data, bytes(-len(data) % _BLOCK))))
        return offset

    def _end(self) -> None:
        """Write two zero blocks, padded to a whole record."""
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self.size % tarfile.RECORDSIZE))

    def _write(self, data: bytes) -> None:
        self._digest.update(data)
        self._out.write(data)
        self.size += len(data)
