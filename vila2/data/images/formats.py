"""The image formats that are opened, by their bytes and by their file extensions."""

from __future__ import annotations

import functools

# Pillow's names of formats, and the extension under which each is stored. A camera's JPEG may have
# previews or a gain map after the image; Pillow calls that MPO.
FORMATS = {
    "JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp", "TIFF": "tif", "GIF": "gif",
    "BMP": "bmp", "AVIF": "avif", "HEIF": "heic",
}  # fmt: skip
OPENED_AS = ("JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP", "AVIF")
EXTENSIONS = tuple(dict.fromkeys(FORMATS.values()))
# Formats that every image library, browser and hosted model reads.
COMMON = ("jpg", "png", "webp")
# Of these the first page or frame is the image, whatever follows; of others several are refused.
FIRST_OF_SEVERAL = ("tif", "gif", "heic")
# Formats that lose detail when they are written; a copy of one need not be lossless.
LOSSY = ("jpg", "avif", "heic")

# Endings of file names, and the extension under which such an image is stored.
SUFFIXES = {
    ".jpg": "jpg", ".jpeg": "jpg", ".png": "png", ".webp": "webp", ".tif": "tif", ".tiff": "tif",
    ".gif": "gif", ".bmp": "bmp", ".avif": "avif", ".heic": "heic", ".heif": "heic",
}  # fmt: skip
NAMES = "JPEG, PNG, WebP, TIFF, GIF, BMP, AVIF or HEIC"
FILES = f".{', .'.join(EXTENSIONS[:-1])} or .{EXTENSIONS[-1]}"

_HEIF = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
_AVIF = {b"avif", b"avis"}
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", b"GIF87a", b"GIF89a",
)  # fmt: skip


def is_heif(data: bytes) -> bool:
    """Whether bytes claim to be HEIC or another HEIF, but not AVIF."""
    brands = _brands(data)
    return bool(brands & _HEIF) and not brands & _AVIF


def has_signature(data: bytes) -> bool:
    """Whether bytes begin as an image of a known format does."""
    return (
        data.startswith(_SIGNATURES)
        or (data.startswith(b"RIFF") and data[8:12] == b"WEBP")
        or bool(_brands(data) & (_HEIF | _AVIF))
    )


@functools.cache
def reads_heif() -> bool:
    """Whether HEIC can be opened here: with the extra `heic`, which this registers at Pillow."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener(thumbnails=False)
    return True


def _brands(data: bytes) -> set[bytes]:
    """The brands in the first box of an ISO base media file; none of any other."""
    if data[4:8] != b"ftyp":
        return set()
    end = min(int.from_bytes(data[:4], "big"), 128, len(data))
    return {data[8:12], *(data[at : at + 4] for at in range(16, end - 3, 4))}
