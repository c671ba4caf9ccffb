"""Safe decoding of untrusted images.

The size is read from the header and checked against a limit before any pixel is decoded. What
`inspect` admits, `decode` decodes.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image

from vila2.data.images.formats import COMMON, FORMATS, LOSSY
from vila2.data.images.in_flight import IN_FLIGHT
from vila2.data.images.opening import (
    ORIENTATION,
    ImageLimits,
    ImageRejected,
    damaged,
    opened,
    orientation,
)
from vila2.data.images.side_data import without_large_side_data
from vila2.data.images.trailing_data import checksums_hold, end_of, foreign_tail, jpeg_structure

__all__ = [
    "DECODED_MODE",
    "DECODE_VERSION",
    "ImageInfo",
    "ImageLimits",
    "ImageRejected",
    "as_sent",
    "decode",
    "decode_within",
    "inspect",
    "reduced",
]

# Increase when `decode` returns different pixels for the same bytes.
DECODE_VERSION = 1
DECODED_MODE = "RGB"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """An image's format, file extension, and size in pixels as `decode` returns it (upright)."""

    format: str
    extension: str
    width: int
    height: int


_DEFAULT = ImageLimits()


def inspect(
    data: bytes | None, *, limits: ImageLimits = _DEFAULT, decoded: bool = True
) -> ImageInfo:
    """Validate an image down to its last byte and return its format and size.

    Without `decoded`, only the structure is checked: JPEG end marker, PNG checksums, the lengths
    that other formats state.
    Truncation is detected; corrupt compressed data is not.

    Raises `ImageRejected` with one of the reasons image-missing, image-empty,
    image-too-large-bytes, image-too-many-pixels, image-too-small, image-format-not-allowed,
    image-truncated (cut or damaged), image-too-many-scans, image-animated, and image-polyglot
    (data that is not an image follows its end); image-reader-missing if it is HEIC and the extra
    `heic` is not installed. Of a TIFF, GIF or HEIC with several pages or frames the first counts.
    """
    with opened(data, limits) as image:
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
            raise damaged("it ends early")
        if not decoded and extension == "png" and not checksums_hold(data or b""):
            raise damaged("a checksum does not hold")
        if decoded and extension != "jpg":
            return ImageInfo(name, extension, *_rgb(image).size)
        size = image.size
        if decoded:
            # At an eighth of its size every coded bit is still read, and that is what can fail.
            image.draft("L", (1, 1))
            _rgb(image)
        return ImageInfo(name, extension, *(size if orientation(image) < 5 else size[::-1]))


def decode(
    data: bytes, *, size: tuple[int, int] | None = None, limits: ImageLimits = _DEFAULT
) -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB, upright, resized to `size` (width, height) by bicubic.

    A JPEG that is much larger than `size` is decoded at a reduced scale (libjpeg's draft mode).
    Transparency is composited on white; of 16-bit channels the upper 8 bits are kept. Raises
    `ImageRejected` as `inspect` does.
    """
    with opened(data, limits) as image:
        if size is not None and FORMATS[str(image.format)] == "jpg":
            width, height = size if orientation(image) < 5 else size[::-1]
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
    with opened(data, limits) as image:
        size = reduced(image.size, max_pixels)
        if size != image.size:
            image.draft("RGB", (2 * size[0], 2 * size[1]))
        rgb = _rgb(image)
        size = reduced(rgb.size, max_pixels)
        return rgb if rgb.size == size else rgb.resize(size, Image.Resampling.BICUBIC)


def as_sent(data: bytes, max_pixels: int, *, limits: ImageLimits = _DEFAULT) -> bytes:
    """The file itself if every reader shows the same image, else an upright RGB copy of it.

    Not every reader knows formats other than JPEG, PNG and WebP, turns an image as its EXIF
    orientation says, or puts transparency on white; a large image is reduced to `max_pixels`, and
    one with side data that Pillow refuses is copied without it. Copies are JPEGs of quality 95
    without subsampling, or PNGs if the image was lossless. Raises `ImageRejected` as `inspect`
    does.
    """
    with opened(data, limits) as image:
        plain = image.mode in ("RGB", "L") and "transparency" not in image.info
        small = image.width * image.height <= max_pixels
        extension = FORMATS[str(image.format)]
        lossy, common = extension in LOSSY, extension in COMMON
        readable = without_large_side_data(data) is data
        if (
            common and readable and plain and small and image.format != "MPO"
            and orientation(image) == 1
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


def _hold_scans(limits: ImageLimits, scans: int, pixels: int) -> None:
    """Raise `ImageRejected` if a JPEG would be decoded too many times over; before it is."""
    most = min(limits.max_scans, max(1, limits.max_scan_pixels // max(1, pixels)))
    if scans > most:
        raise ImageRejected(
            "image-too-many-scans",
            f"the JPEG has {scans:,} scans, the limit at its size is {most:,}; save it again, not "
            "progressive",
        )


def _rgb(image: Image.Image) -> Image.Image:
    """Decode every pixel and return the image upright in RGB."""
    try:
        with IN_FLIGHT.hold(image.width * image.height):
            return _decoded(image)
    except MemoryError:
        raise
    except Exception as error:
        # Pillow's decoders raise many types on cut or hostile data (OSError, SyntaxError, ...).
        raise damaged(error) from error


def _decoded(image: Image.Image) -> Image.Image:
    image.load()
    # Read after loading, since a PNG's EXIF may follow its pixels.
    transpose = ORIENTATION.get(orientation(image))
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
