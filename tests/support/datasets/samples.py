"""Images, samples and tars that the data tests make."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from PIL import Image

from vila2.data.images.formats import reads_heif
from vila2.data.layers import CAPTIONED, CaptionRow
from vila2.data.sample import Sample


def image(seed: int = 0, *, size: tuple[int, int] = (16, 12), kind: str = "PNG") -> bytes:
    """An encoded image of noise; another seed gives another image."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return encoded(Image.fromarray(pixels), kind)


def image_of(kind: str, seed: int = 0) -> bytes:
    """An image of noise in any format that is read; the test is skipped if that needs an extra."""
    if kind == "HEIF":
        pytest.importorskip("pillow_heif", reason="pillow-heif is not installed")
        assert reads_heif()
    return image(seed, kind=kind)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The bytes of a Pillow image."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size and whose data is a few bytes: a decompression bomb."""

    def chunk(name: bytes, data: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + data))
        return struct.pack(">I", len(data)) + name + data + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 100))
        + chunk(b"IEND", b"")
    )


def sample(key: str = "a", **fields: Any) -> Sample:
    """An admitted sample; `image` and the rest may be given."""
    data = fields.pop("image", None) or image(sum(key.encode()))
    given = {"caption": "a photo", "extension": "png", "width": 16, "height": 12, **fields}
    return Sample(key=key, image=data, sha256=hashlib.sha256(data).hexdigest(), **given)


def caption_row(key: str = "a", **fields: Any) -> CaptionRow:
    """A row of a caption layer that passed the gate; any field may be given."""
    given: dict[str, Any] = {
        "key": key,
        "sha256": "ab" * 32,
        "caption": "a red fox",
        "status": CAPTIONED,
        "reason": "",
        "prompt_id": "short-1",
        "prompt": "Describe the image.",
        "model": "self-1",
        "seed": 7,
        "attempt": 1,
        "temperature": 0.5,
        "tokens": 3,
        "logprob": -0.25,
        "finish_reason": "stop",
    }
    return CaptionRow(**{**given, **fields})


def tar_of(
    *members: tuple[str, bytes], path: Path | None = None, mode: Literal["w", "w:gz"] = "w"
) -> bytes:
    """A tar of named members, also written to `path`."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    if path is not None:
        path.write_bytes(out.getvalue())
    return out.getvalue()
