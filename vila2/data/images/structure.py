"""The structural end of TIFF, GIF, BMP, AVIF and HEIC files. Pure; nothing is decoded.

Each function returns the offset behind the last byte that the file accounts for, `None` if it
accounts for more than there is: then it was cut. Structure: TIFF 6.0, GIF89a, the BMP headers, and
the boxes of ISO 14496-12.
"""

from __future__ import annotations

import struct

# Bytes of a value by TIFF's type; others are left out.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
# Offsets of strips, tiles and an old preview, with the tags of their lengths.
_STORED = {273: 279, 324: 325, 513: 514}
_MAX_PAGES, _MAX_VALUES = 10_000, 5_000_000
_BOXES = {b"ftyp", b"meta", b"mdat", b"moov", b"free", b"skip", b"uuid", b"idat", b"mfra", b"moof"}


def end_of_tiff(data: bytes) -> int | None:
    """Behind the last page: its directory, its values, and its strips or tiles."""
    order = "<" if data.startswith(b"II") else ">"
    try:
        at, end, seen, left = *struct.unpack_from(f"{order}I", data, 4), 8, set[int](), _MAX_VALUES
        while at and at not in seen and len(seen) < _MAX_PAGES:
            seen.add(at)
            (entries,) = struct.unpack_from(f"{order}H", data, at)
            behind = at + 2 + 12 * entries
            stored: dict[int, tuple[int, ...]] = {}
            for entry in range(at + 2, behind, 12):
                tag, kind, count = struct.unpack_from(f"{order}HHI", data, entry)
                size = _SIZES.get(kind, 0) * count
                (value,) = struct.unpack_from(f"{order}I", data, entry + 8)
                end = max(end, value + size if size > 4 else 0)
                if kind in (3, 4) and (tag in _STORED or tag in _STORED.values()):
                    left -= count
                    if left < 0:
                        return None
                    form = f"{order}{count}{'H' if kind == 3 else 'I'}"
                    stored[tag] = struct.unpack_from(form, data, value if size > 4 else entry + 8)
            for offsets, lengths in _STORED.items():
                pairs = zip(stored.get(offsets, ()), stored.get(lengths, ()), strict=False)
                end = max(end, max((start + length for start, length in pairs), default=0))
            (at,) = struct.unpack_from(f"{order}I", data, behind)
            end = max(end, behind + 4)
    except struct.error:
        return None
    return end if end <= len(data) else None


def end_of_gif(data: bytes) -> int | None:
    """Behind the trailer."""
    try:
        at = 13 + _colours(data[10])
        while True:
            block, at = data[at], at + 1
            if block == 0x3B:
                return at
            if block == 0x2C:
                at += 9 + _colours(data[at + 8]) + 1
            elif block == 0x21:
                at += 1
            else:
                return None
            while size := data[at]:
                at += size + 1
            at += 1
    except IndexError:
        return None


def end_of_bmp(data: bytes) -> int | None:
    """Behind the pixels, or the size that the header states if they are packed."""
    try:
        size, pixels, header = (struct.unpack_from("<I", data, at)[0] for at in (2, 10, 14))
        if header == 12:
            width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
            packed = 0
        else:
            width, height, _, bits, packed = struct.unpack_from("<iiHHI", data, 18)
    except struct.error:
        return None
    plain = pixels + (width * bits + 31) // 32 * 4 * abs(height)
    end = int(size) if packed in (1, 2) else int(plain)
    return end if 0 < end <= len(data) else None


def end_of_boxes(data: bytes) -> int | None:
    """Behind the last box; there is no end if a box is cut, or none holds pixels."""
    at, pixels = 0, False
    while at + 8 <= len(data):
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name not in _BOXES:
            break
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size == 0:
            return len(data)  # the last box has the rest of the file
        if size < 8 or at + size > len(data):
            return None
        pixels |= name == b"mdat" or (name == b"meta" and b"idat" in data[at : at + size])
        at += size
    return at if pixels else None


def _colours(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0
