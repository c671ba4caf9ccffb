"""Formats beside JPEG, PNG and WebP: which image of a file counts, and what engines are sent."""

from __future__ import annotations

import io
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.datasets.samples import encoded, image, image_of
from vila2.data.admission import Admission
from vila2.data.images.decoding import ImageRejected, as_sent, decode, inspect
from vila2.data.images.formats import COMMON, FORMATS, reads_heif
from vila2.data.images.perceptual_hash import perceptual_hash
from vila2.data.images.trailing_data import end_of
from vila2.data.sample import RawSample

OTHERS = {kind: extension for kind, extension in FORMATS.items() if extension not in COMMON}


def several(kind: str) -> bytes:
    """A red page or frame, then a blue one."""
    image_of(kind)
    first, other = (Image.new("RGB", (16, 16), colour) for colour in ("red", "blue"))
    return encoded(first, kind, save_all=True, append_images=[other])


def reason_of(data: bytes, *, decoded: bool = True) -> str:
    with pytest.raises(ImageRejected) as caught:
        inspect(data, decoded=decoded)
    return caught.value.reason


@pytest.mark.parametrize("kind", ["TIFF", "GIF", "HEIF"])
def test_of_several_pages_or_frames_the_first_is_the_image(kind: str) -> None:
    """And the version counts in how many files more follow."""
    red = decode(several(kind))[0, 0]
    assert red.argmax() == 0
    assert red.max() > 250
    admission = Admission()
    for key, data in (("a", several(kind)), ("b", image_of(kind))):
        admission.admit(RawSample(key, f"{key}.{FORMATS[kind]}", data, "a fox"))
    assert admission.accepted == 2
    assert admission.notes == {"first-of-several": 1}


@pytest.mark.parametrize("kind", OTHERS)
def test_an_engine_is_sent_what_every_engine_reads(kind: str) -> None:
    """A copy with the same pixels, or nearly if the format loses some itself."""
    data = image_of(kind)
    sent = as_sent(data, 10_000)
    copy = Image.open(io.BytesIO(sent))
    assert copy.format == ("JPEG" if kind in ("AVIF", "HEIF") else "PNG")
    if copy.format == "PNG":
        assert np.array_equal(np.asarray(copy.convert("RGB")), decode(data))
    assert perceptual_hash(data) == perceptual_hash(data)


@pytest.mark.parametrize("kind", ["TIFF", "AVIF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_upright_in_every_format(kind: str, orientation: int) -> None:
    """Pillow turns a TIFF itself, and others not."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255
    undo = [None, 0, 3, 1, 5, 2, 6, 4][orientation - 1]
    made = Image.fromarray(upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(made if undo is None else made.transpose(Image.Transpose(undo)), kind, exif=exif)
    for decoded in (True, False):
        info = inspect(data, decoded=decoded)
        assert (info.width, info.height) == (32, 16)
    assert decode(data)[:6, :6].min() > 190
    assert np.asarray(Image.open(io.BytesIO(as_sent(data, 10_000))))[:6, :6].min() > 190


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "YCbCr"])
def test_every_tiff_of_fixed_tones_becomes_rgb(mode: str) -> None:
    assert decode(encoded(Image.new(mode, (20, 10)), "TIFF")).shape == (10, 20, 3)


def test_sixteen_bits_of_a_tiff_keep_their_tones() -> None:
    grey = np.full((16, 16), 0x8000, np.uint16)
    assert np.unique(decode(encoded(Image.fromarray(grey), "TIFF"))).tolist() == [0x80]


def test_a_tiff_of_floats_has_no_tones() -> None:
    """What is white in it, no reader can know."""
    assert reason_of(encoded(Image.new("F", (16, 16)), "TIFF")) == "image-format-not-allowed"


@pytest.mark.parametrize("tag", [(254, 4, 1), (0xC612, 1, 4)])
def test_the_preview_in_a_raw_image_is_not_the_image(tag: tuple[int, int, int]) -> None:
    info = Image.Exif()
    info[tag[0]] = tag[2] if tag[1] == 4 else b"\1\4\0\0"
    data = encoded(Image.new("RGB", (16, 16)), "TIFF", tiffinfo=info)
    assert reason_of(data) == "image-format-not-allowed"


@pytest.mark.parametrize("kind", OTHERS)
@given(cut=st.floats(0.05, 0.995))
def test_a_cut_file_is_found_by_its_structure_alone(kind: str, cut: float) -> None:
    """As with the formats that were known first."""
    data = image_of(kind)
    assert inspect(data, decoded=False) == inspect(data)
    if kind != "MPO":
        assert reason_of(data[: int(cut * len(data))], decoded=False) in (
            "image-truncated", "image-format-not-allowed",
        )  # fmt: skip


@pytest.mark.parametrize("kind", OTHERS)
def test_a_program_behind_any_image_is_refused(kind: str) -> None:
    assert end_of(image_of(kind), OTHERS[kind]) == len(image_of(kind))
    assert reason_of(image_of(kind) + b"\x7fELF\x02") == "image-polyglot"


@given(st.binary(max_size=300), st.sampled_from(sorted(OTHERS.values())))
def test_any_bytes_have_an_end_in_every_format(data: bytes, extension: str) -> None:
    """The search ends, within the data, also behind a good beginning."""
    for start in (b"", b"II*\0\x08\0\0\0", b"GIF89a", b"BM", b"\0\0\0\x14ftypavif"):
        end = end_of(start + data, extension)
        assert end is None or 0 <= end <= len(start + data)


def test_a_tiff_whose_pages_lead_in_a_circle_ends() -> None:
    page = struct.pack("<H", 0) + struct.pack("<I", 8)
    assert end_of(b"II*\0" + struct.pack("<I", 8) + page, "tif") == 14


def test_heic_without_its_reader_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Per image, so that the others are admitted."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    reads_heif.cache_clear()
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
    try:
        with pytest.raises(ImageRejected, match=r"pip install 'vila2\[heic\]'") as caught:
            inspect(heic)
    finally:
        monkeypatch.undo()
        reads_heif.cache_clear()
    assert caught.value.reason == "image-reader-missing"
    assert reason_of(b"\0\0\0\x18ftypavif" + bytes(100)) == "image-truncated"
    assert inspect(image()).format == "PNG"
