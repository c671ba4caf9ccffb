"""Side data of a PNG: colour profiles and texts that are too large to be read with the pixels.

Pillow refuses the whole image if a profile or text unpacks to more than a mebibyte, or all texts to
more than 64. All pixels are there, and the profile of some scanners and editors is larger. Such
chunks are left out when the image is opened; they are not unpacked further than to the limit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

# Pillow's limits, PngImagePlugin.MAX_TEXT_CHUNK and MAX_TEXT_MEMORY, in bytes.
_MAX_CHUNK = 1024 * 1024
_MAX_TEXTS = 64 * _MAX_CHUNK
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")


def without_large_side_data(data: bytes) -> bytes:
    """The image without profiles and texts that Pillow would refuse; `data` itself if it has none.

    Anything but a PNG is returned as it is, and so is what follows a PNG's first damaged chunk.
    """
    if not data.startswith(_SIGNATURE):
        return data
    left_out: list[tuple[int, int]] = []
    texts = 0
    for name, start, end in _chunks(data):
        if name not in _TEXTS and name != b"iCCP":
            continue
        size = _size(name, data[start + 8 : end - 4])
        if size is None or (name in _TEXTS and texts + size > _MAX_TEXTS):
            left_out.append((start, end))
        elif name in _TEXTS:
            texts += size
    if not left_out:
        return data
    kept, at = [], 0
    for start, end in left_out:
        kept.append(data[at:start])
        at = end
    return b"".join((*kept, data[at:]))


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and end of every whole chunk up to the end of the image."""
    at = len(_SIGNATURE)
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        name = data[at + 4 : at + 8]
        if end > len(data):
            return
        yield name, at, end
        if name == b"IEND":
            return
        at = end


def _size(name: bytes, held: bytes) -> int | None:
    """Bytes of a profile or text; `None` if a packed one is too large or malformed."""
    rest = held.partition(b"\0")[2]
    if name == b"tEXt":
        return len(rest)
    if name == b"iTXt":
        flag, method = rest[:1], rest[1:2]
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]
        if flag in (b"", b"\0"):
            return len(rest)
    else:
        method, rest = rest[:1], rest[1:]
    if method != b"\0" and (method or name == b"iCCP"):
        return None
    try:
        opened = zlib.decompressobj()
        size = len(opened.decompress(rest, _MAX_CHUNK))
    except zlib.error:
        return 0  # Pillow reads nothing from it
    return None if opened.unconsumed_tail else size
