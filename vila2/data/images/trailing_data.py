"""Detection of data after an image's end (polyglot files).

Cameras append previews, gain maps and short videos to a JPEG, and some tools pad with zeros; these
are allowed. An archive, HTML page or program there makes the file a polyglot, which would be passed
on by anyone who serves or unpacks the dataset. Structure: ITU T.81 annex B for JPEG, the PNG
specification's chunks, and RIFF's size for WebP; others are in `structure.py`.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from vila2.data.images.structure import end_of_bmp, end_of_boxes, end_of_gif, end_of_tiff

# A marker within the coded data: 0xFF followed by neither a stuffed zero, a restart nor a fill.
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])")
_END, _SCAN = 0xD9, 0xDA
_ALONE = {0x01, *range(0xD0, 0xD9)}
_FOREIGN = (
    (re.compile(rb"PK\x03\x04|PK\x05\x06"), "a ZIP archive"),
    (re.compile(rb"%PDF-"), "a PDF"),
    (re.compile(rb"<(?:!doctype|html|script|svg|\?php)", re.IGNORECASE), "a web page or script"),
    (re.compile(rb"\x7fELF"), "a program"),
    (re.compile(rb"Rar!\x1a\x07|7z\xbc\xaf\x27\x1c"), "an archive"),
    # Two bytes are no evidence in the middle of a video, so only the start is matched.
    (re.compile(rb"\A\s*(?:MZ|\x1f\x8b\x08|BZh|#!)"), "a program or an archive"),
)


def end_of(data: bytes, extension: str) -> int | None:
    """Return the offset of the image's structural end; `None` if the file is truncated."""
    if extension in _END_OF:
        return _END_OF[extension](data)
    if extension == "webp":
        size = int.from_bytes(data[4:8], "little") + 8
        return None if size > len(data) else min(len(data), size + size % 2)
    return jpeg_structure(data).end


@dataclass(frozen=True, slots=True)
class JpegStructure:
    """A JPEG's scans, and the offset of its structural end, `None` if it is truncated."""

    end: int | None
    scans: int


def jpeg_structure(data: bytes) -> JpegStructure:
    """Walk the segments of a JPEG without decoding it."""
    at, scans = 2, 0
    while (found := _MARKER.search(data, at)) is not None:
        marker, at = found.group(1)[0], found.end()
        if marker == _END:
            return JpegStructure(at, scans)
        scans += marker == _SCAN
        if marker not in _ALONE:
            at += int.from_bytes(data[at : at + 2], "big")
    return JpegStructure(None, scans)


def foreign_tail(data: bytes, end: int | None) -> str:
    """Name the kind of program, page or archive after offset `end`; empty if there is none."""
    tail = data[len(data) if end is None else end :]
    if not tail.strip(b"\0\r\n "):
        return ""
    return next((what for pattern, what in _FOREIGN if pattern.search(tail)), "")


def checksums_hold(data: bytes) -> bool:
    """Whether every chunk of a PNG, up to IEND, matches its checksum."""
    at = 8
    while at + 12 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        held, checksum = data[at + 4 : at + 8 + size], data[at + 8 + size : at + 12 + size]
        if zlib.crc32(held).to_bytes(4, "big") != checksum:
            return False
        if name == b"IEND":
            return True
        at += 12 + size
    return False


def _end_of_png(data: bytes) -> int | None:
    at = 8
    while at + 12 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        at += 12 + size
        if name == b"IEND":
            return at if at <= len(data) else None
    return None


_END_OF = {
    "png": _end_of_png, "gif": end_of_gif, "bmp": end_of_bmp, "tif": end_of_tiff,
    "avif": end_of_boxes, "heic": end_of_boxes,
}  # fmt: skip
