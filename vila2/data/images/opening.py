"""Opens untrusted images: their limits are checked by the header, before any pixel is decoded.

Only the formats of `formats.py` are opened, whatever the file's name says.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from PIL import Image, TiffImagePlugin, UnidentifiedImageError

from vila2.data.images.formats import (
    FIRST_OF_SEVERAL,
    FORMATS,
    NAMES,
    OPENED_AS,
    has_signature,
    is_heif,
    reads_heif,
)
from vila2.data.images.side_data import without_large_side_data

ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ORIENTATION_TAG = 0x0112
_SUBFILE_TAG, _DNG_TAG = 0x00FE, 0xC612
_TIFF_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I")


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """Limits on an image: encoded bytes, decoded pixels, shortest side in pixels, and scans.

    A progressive JPEG is decoded in scans over all its pixels, and an empty scan takes a few bytes:
    without a limit a small file costs hours. Encoders write at most about twenty. `max_scan_pixels`
    bounds the pixels of all scans together, about a second's work.
    """

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side: int = 8
    max_scans: int = 64
    max_scan_pixels: int = 1_000_000_000


class ImageRejected(ValueError):
    """An image that is not admitted; `reason` is a stable slug, the message says what to do."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


@contextmanager
def opened(data: bytes | None, limits: ImageLimits) -> Iterator[Image.Image]:
    """The image with its header read, within the limits; raises `ImageRejected`."""
    if data is None:
        raise ImageRejected("image-missing", "there is no image; put the file beside its caption")
    if not data:
        raise ImageRejected("image-empty", "the image has 0 bytes; submit it again")
    if len(data) > limits.max_bytes:
        raise ImageRejected(
            "image-too-large-bytes",
            f"the image has {len(data):,} bytes, the limit is {limits.max_bytes:,}; "
            "save it with more compression",
        )
    with _open(data, limits) as image:
        _hold_to(limits, *image.size)
        if image.format == "TIFF":
            _hold_tiff(image, data)
        # The second image of an MPO is a preview of the first, not a frame of a film.
        single = image.format == "MPO" or FORMATS[str(image.format)] in FIRST_OF_SEVERAL
        if not single and getattr(image, "n_frames", 1) > 1:
            raise ImageRejected(
                "image-animated", "the image has several frames; submit one of them"
            )
        yield image


def has_several(data: bytes) -> bool:
    """Whether an admitted image is the first of several pages or frames in its file."""
    with _open(data, ImageLimits()) as image:
        return bool(getattr(image, "is_animated", False))


def orientation(image: Image.Image) -> int:
    """How the pixels are still to be turned, as EXIF numbers it, 1 to 8; 1 if unknown."""
    if image.format == "TIFF":
        return 1  # Pillow turns it when it is loaded, and reports its size upright
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
        return int(value) if int(value) in ORIENTATION else 1
    except Exception:
        # Pixels may be fine with damaged EXIF, and viewers show such images as stored.
        return 1


def damaged(error: Exception | str) -> ImageRejected:
    """What is raised for data that is cut or not what it claims."""
    return ImageRejected(
        "image-truncated", f"the image's data is cut or damaged ({error}); submit it again"
    )


def _open(data: bytes, limits: ImageLimits) -> Image.Image:
    """Read the header only."""
    heif = is_heif(data)
    if heif and not reads_heif():
        raise ImageRejected(
            "image-reader-missing",
            "the image is HEIC, which cannot be read here; convert it to JPEG, or install its "
            "reader: pip install 'vila2[heic]'",
        )
    try:
        readable = without_large_side_data(data)
        return Image.open(io.BytesIO(readable), formats=("HEIF",) if heif else OPENED_AS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRejected(
            "image-too-many-pixels",
            f"the image claims more pixels than the limit of {limits.max_pixels:,}; "
            "make it smaller",
        ) from error
    except UnidentifiedImageError as error:
        if has_signature(data):
            raise damaged(error) from error
        raise _not_allowed(f"the bytes are not a {NAMES} image; convert it to one of these") from (
            error
        )
    except MemoryError:
        raise  # it says nothing of the image: whether one is admitted must not depend on load
    except Exception as error:
        # Pillow's parsers raise many types on hostile headers (struct.error, IndexError, ...).
        raise damaged(error) from error


def _hold_to(limits: ImageLimits, width: int, height: int) -> None:
    if width * height > limits.max_pixels:
        raise ImageRejected(
            "image-too-many-pixels",
            f"the image claims {width}x{height} pixels, the limit is "
            f"{limits.max_pixels:,}; make it smaller",
        )
    if min(width, height) < limits.min_side:
        raise ImageRejected(
            "image-too-small",
            f"the image has {width}x{height} pixels; each side needs at least {limits.min_side}",
        )


def _hold_tiff(image: Image.Image, data: bytes) -> None:
    """Raise `ImageRejected` for a TIFF whose first page is not an image as other tools show it."""
    assert isinstance(image, TiffImagePlugin.TiffImageFile)
    try:
        tags = image.tag_v2
        preview = bool(int(tags.get(_SUBFILE_TAG, 0)) & 1)
        raw = _DNG_TAG in tags or data[8:10] == b"CR"
    except Exception as error:
        raise damaged(error) from error
    if preview or raw:
        raise _not_allowed(
            "the file is a camera's raw image, whose first page is a preview; convert it to JPEG"
        )
    if image.mode.partition(";")[0] not in _TIFF_MODES:
        raise _not_allowed(
            f"the TIFF's pixels are {image.mode}, which has no fixed range of tones; save it as "
            "RGB or grey of 8 or 16 bits"
        )


def _not_allowed(detail: str) -> ImageRejected:
    return ImageRejected("image-format-not-allowed", detail)
