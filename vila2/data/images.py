"""Safe decoding of pictures that strangers sent.

Only JPEG, PNG and WebP are opened, whatever the file's name says; the size is read from the header
and held against a limit before a single pixel is decoded.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

FORMATS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a picture may cost: encoded bytes, decoded pixels, and its shortest side."""

    max_bytes: int = 20 * 1024 * 1024
    max_pixels: int = 50_000_000
    min_side: int = 8


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """A picture's format, file extension and size in pixels."""

    format: str
    extension: str
    width: int
    height: int


class ImageRejected(ValueError):  # noqa: N818 (the outcome is ordinary, not a fault of ours)
    """A picture that is not admitted; `reason` is a stable slug, the message says what to do."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason, self.detail = reason, detail


_DEFAULT = ImageLimits()


def inspect(data: bytes, *, limits: ImageLimits = _DEFAULT) -> ImageInfo:
    """Check a picture whole, down to its last byte, and return what it is.

    Raises `ImageRejected` for an empty, oversized, foreign, animated or truncated picture.
    """
    with _opened(data, limits) as image:
        _load(image)
        return ImageInfo(str(image.format), FORMATS[str(image.format)], image.width, image.height)


def decode(
    data: bytes, *, size: tuple[int, int] | None = None, limits: ImageLimits = _DEFAULT
) -> np.ndarray:
    """Decode to uint8 (H, W, 3) RGB, upright, resized to `size` (width, height) by bicubic.

    A JPEG that is much larger than `size` is decoded at a reduced scale (libjpeg's draft mode).
    Transparent pixels lie on white.
    """
    with _opened(data, limits) as image:
        if size is not None:
            # Twice the target keeps enough detail for the bicubic resize that follows.
            image.draft("RGB", (size[0] * 2, size[1] * 2))
        _load(image)
        upright = ImageOps.exif_transpose(image)
        if upright.mode in ("RGBA", "LA", "PA") or "transparency" in upright.info:
            with_alpha = upright.convert("RGBA")
            upright = Image.new("RGB", with_alpha.size, "white")
            upright.paste(with_alpha, mask=with_alpha.getchannel("A"))
        rgb = upright.convert("RGB")
        if size is not None and rgb.size != size:
            rgb = rgb.resize(size, Image.Resampling.BICUBIC)
        return np.array(rgb, dtype=np.uint8)


@contextmanager
def _opened(data: bytes, limits: ImageLimits) -> Iterator[Image.Image]:
    if not data:
        raise ImageRejected("image-empty", "the picture has 0 bytes; submit it again")
    if len(data) > limits.max_bytes:
        raise ImageRejected(
            "image-too-large",
            f"the picture has {len(data):,} bytes, the limit is {limits.max_bytes:,}; "
            "save it with more compression",
        )
    try:
        with warnings.catch_warnings():
            # Pillow's own bomb warning has another threshold; ours, below, decides.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            image = Image.open(io.BytesIO(data), formats=tuple(FORMATS))
    except Image.DecompressionBombError as error:
        raise ImageRejected("image-too-many-pixels", str(error)) from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ImageRejected(
            "image-format-not-allowed",
            "the bytes are not a JPEG, PNG or WebP picture; convert it to one of these",
        ) from error
    with image:
        pixels = image.width * image.height
        if pixels > limits.max_pixels:
            raise ImageRejected(
                "image-too-many-pixels",
                f"the picture claims {image.width}x{image.height} pixels, the limit is "
                f"{limits.max_pixels:,}; make it smaller",
            )
        if min(image.size) < limits.min_side:
            raise ImageRejected(
                "image-too-small",
                f"the picture has {image.width}x{image.height} pixels; each side needs at least "
                f"{limits.min_side}",
            )
        if getattr(image, "n_frames", 1) > 1:
            raise ImageRejected(
                "image-animated", "the picture has several frames; submit one of them"
            )
        yield image


def _load(image: Image.Image) -> None:
    try:
        image.load()
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise ImageRejected(
            "image-truncated", f"the picture's data is cut or damaged ({error}); submit it again"
        ) from error
