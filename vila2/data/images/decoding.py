"""Safe decoding of untrusted images.

Only JPEG, PNG and WebP are opened, whatever the file's name says; the size is read from the header
and checked against a limit before any pixel is decoded. What `inspect` admits, `decode` decodes.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, UnidentifiedImageError

from vila2.data.images.in_flight import IN_FLIGHT
from vila2.data.images.side_data import without_large_side_data
from vila2.data.images.trailing_data import checksums_hold, end_of, foreign_tail, jpeg_structure

# A camera's JPEG may have previews or a gain map after the image; Pillow calls that MPO.
FORMATS = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png", "WEBP": "webp"}
_OPENED_AS = ("JPEG", "PNG", "WEBP")

# Increase when `decode` returns different pixels for the same bytes.
DECODE_VERSION = 1
DECODED_MODE = "RGB"

_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


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


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image's format, file extension, and size in pixels as `decode` returns it (upright)."""

    format: str
    extension: str
    width: int
    height: int


class ImageRejected(ValueError):
    """An image that is not admitted; `reason` is a stable slug, the message says what to do."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


_DEFAULT = ImageLimits()


def inspect(
    data: bytes | None, *, limits: ImageLimits = _DEFAULT, decoded: bool = True
) -> ImageInfo:
    """Validate an image down to its last byte and return its format and size.

    Without `decoded`, only the structure is checked: JPEG end marker, PNG checksums, WebP length.
    Truncation is detected; corrupt compressed data is not.

    Raises `ImageRejected` with one of the reasons image-missing, image-empty,
    image-too-large-bytes, image-too-many-pixels, image-too-small, image-format-not-allowed,
    image-truncated (cut or damaged), image-too-many-scans, image-animated, and image-polyglot
    (data that is not an image follows its end).
    """
    with _opened(data, limits) as image:
        extension = FORMATS[str(image.format)]
        if extension == "jpg":
            structure = jpeg_structure(data or b"")
            end = structure.end
            _hold_scans(limits, structure.scans, image.width * image.height)
        else:
            end = end_of(data or b"", extension)
        foreign = foreign_tail(data or b"", end)
        if foreign:
            raise ImageRejected(
                "image-polyglot",
                f"behind the image's end stands {foreign}; save the image again without it",
            )
        name = "JPEG" if extension == "jpg" else str(image.format)
        if not decoded and end is None:
            raise _damaged("it ends early")
        if not decoded and extension == "png" and not checksums_hold(data or b""):
            raise _damaged("a checksum does not hold")
        if decoded and extension != "jpg":
            return ImageInfo(name, extension, *_rgb(image).size)
        size = image.size
        if decoded:
            # At an eighth of its size every coded bit is still read, and that is what can fail.
            image.draft("L", (1, 1))
            _rgb(image)
        return ImageInfo(name, extension, *(size if _orientation(image) < 5 else size[::-1]))


def decode(
    data: bytes, *, size: tuple[int, int] | None = None, limits: ImageLimits = _DEFAULT
) -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB, upright, resized to `size` (width, height) by bicubic.

    A JPEG that is much larger than `size` is decoded at a reduced scale (libjpeg's draft mode).
    Transparency is composited on white; of 16-bit channels the upper 8 bits are kept. Raises
    `ImageRejected` as `inspect` does.
    """
    with _opened(data, limits) as image:
        if size is not None and FORMATS[str(image.format)] == "jpg":
            width, height = size if _orientation(image) < 5 else size[::-1]
            # Twice the target leaves bicubic all it needs; where that saves nothing, the target
            # itself still halves the work (`bench/captioning.py` prints the difference).
            enough = 2 if min(image.size[0] // width, image.size[1] // height) >= 4 else 1
            image.draft("RGB", (width * enough, height * enough))
        rgb = _rgb(image)
        if size is not None and rgb.size != size:
            rgb = rgb.resize(size, Image.Resampling.BICUBIC)
        return np.array(rgb, dtype=np.uint8)


def decode_within(data: bytes, max_pixels: int, *, limits: ImageLimits = _DEFAULT) -> Image.Image:
    """Decode to an upright RGB image of its own shape, reduced to `max_pixels` if it has more.

    Raises `ImageRejected` as `inspect` does.
    """
    with _opened(data, limits) as image:
        size = reduced(image.size, max_pixels)
        if size != image.size:
            image.draft("RGB", (2 * size[0], 2 * size[1]))
        rgb = _rgb(image)
        size = reduced(rgb.size, max_pixels)
        return rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BICUBIC)


def as_sent(data: bytes, max_pixels: int, *, limits: ImageLimits = _DEFAULT) -> bytes:
    """The file itself if every reader shows the same image, else an upright RGB copy of it.

    Not every reader turns an image as its EXIF orientation says or puts transparency on white; and
    a large image is reduced to `max_pixels`, and one with side data that Pillow refuses is copied
    without it. Copies are JPEGs of quality 95 without subsampling, or
    PNGs if the image was lossless. Raises `ImageRejected` as `inspect` does.
    """
    with _opened(data, limits) as image:
        plain = image.mode in ("RGB", "L") and "transparency" not in image.info
        small = image.width * image.height <= max_pixels
        lossy = FORMATS[str(image.format)] == "jpg"
        readable = without_large_side_data(data) is data
        if (
            readable and plain and small and image.format != "MPO" and _orientation(image) == 1
        ):  # fmt: skip
            return data  # its pixels were checked when it was admitted
    out = io.BytesIO()
    made = decode_within(data, max_pixels, limits=limits)
    if lossy:
        made.save(out, "JPEG", quality=95, subsampling=0)
    else:
        made.save(out, "PNG", compress_level=1)
    return out.getvalue()


def reduced(size: tuple[int, int], max_pixels: int) -> tuple[int, int]:
    """The largest size of the same shape with at most `max_pixels`; never enlarges."""
    width, height = size
    if width * height <= max_pixels:
        return size
    scale = (max_pixels / (width * height)) ** 0.5
    return max(1, int(width * scale)), max(1, int(height * scale))


@contextmanager
def _opened(data: bytes | None, limits: ImageLimits) -> Iterator[Image.Image]:
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
        # The second image of an MPO is a preview of the first, not a frame of a film.
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise ImageRejected(
                "image-animated", "the image has several frames; submit one of them"
            )
        yield image


def _open(data: bytes, limits: ImageLimits) -> Image.Image:
    """Read the header only."""
    try:
        readable = without_large_side_data(data)
        return Image.open(io.BytesIO(readable), formats=_OPENED_AS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageRejected(
            "image-too-many-pixels",
            f"the image claims more pixels than the limit of {limits.max_pixels:,}; "
            "make it smaller",
        ) from error
    except UnidentifiedImageError as error:
        if _says_what_it_is(data):
            raise _damaged(error) from error
        raise ImageRejected(
            "image-format-not-allowed",
            "the bytes are not a JPEG, PNG or WebP image; convert it to one of these",
        ) from error
    except MemoryError:
        raise  # it says nothing of the image: whether one is admitted must not depend on load
    except Exception as error:
        # Pillow's parsers raise many types on hostile headers (struct.error, IndexError, ...).
        raise _damaged(error) from error


def _says_what_it_is(data: bytes) -> bool:
    return data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")) or (
        data.startswith(b"RIFF") and data[8:12] == b"WEBP"
    )


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


def _hold_scans(limits: ImageLimits, scans: int, pixels: int) -> None:
    """Raise `ImageRejected` if a JPEG would be decoded too many times over; before it is."""
    most = min(limits.max_scans, max(1, limits.max_scan_pixels // max(1, pixels)))
    if scans > most:
        raise ImageRejected(
            "image-too-many-scans",
            f"the JPEG has {scans:,} scans, the limit at its size is {most:,}; save it again, not "
            "progressive",
        )


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if missing or unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
        return int(value) if int(value) in _UPRIGHT else 1
    except Exception:
        # Pixels may be fine with damaged EXIF, and viewers show such images as stored.
        return 1


def _rgb(image: Image.Image) -> Image.Image:
    """Decode every pixel and return the image upright in RGB."""
    try:
        with IN_FLIGHT.hold(image.width * image.height):
            return _decoded(image)
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's decoders raise many types on cut or hostile data (OSError, SyntaxError, ...).
        raise _damaged(error) from error


def _decoded(image: Image.Image) -> Image.Image:
    image.load()
    # Read after loading, since a PNG's EXIF may follow its pixels.
    transpose = _UPRIGHT.get(_orientation(image))
    if image.mode.startswith("I"):
        # 16-bit grey: Pillow would clip to 255 and return a white image.
        grey = np.clip(np.asarray(image), 0, 0xFFFF)
        image = Image.fromarray((grey >> 8).astype(np.uint8))
    if transpose is not None:
        image = image.transpose(transpose)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        with_alpha = image.convert("RGBA")
        image = Image.new("RGB", with_alpha.size, "white")
        image.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return image.convert("RGB")


def _damaged(error: Exception | str) -> ImageRejected:
    return ImageRejected(
        "image-truncated", f"the image's data is cut or damaged ({error}); submit it again"
    )
