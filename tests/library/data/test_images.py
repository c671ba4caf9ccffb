"""Images that strangers send."""

from __future__ import annotations

import io
import random
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from tests.support.datasets.samples import encoded, image, image_of, png_claiming
from vila2.data.images.decoding import ImageLimits, ImageRejected, as_sent, decode, inspect
from vila2.data.images.formats import FORMATS
from vila2.data.images.perceptual_hash import perceptual_hash
from vila2.data.images.side_data import without_large_side_data


def reason_of(data: bytes | None, **limits: int) -> str:
    with pytest.raises(ImageRejected) as caught:
        inspect(data, limits=ImageLimits(**limits))
    assert len(caught.value.detail) > 20
    return caught.value.reason


def film(kind: str) -> bytes:
    frames = [Image.new("RGB", (16, 16), color) for color in ("red", "blue")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:])


def png_with_text_bomb() -> bytes:
    """A PNG whose comment, behind the pixels, unpacks to far more than itself."""
    comment = b"zTXtc\0\0" + zlib.compress(bytes(3_000_000))
    chunk = struct.pack(">I", len(comment) - 4) + comment + struct.pack(">I", zlib.crc32(comment))
    plain = image()
    return plain[:-12] + chunk + plain[-12:]


def with_profile(kind: str, size: int) -> bytes:
    """An image with a colour profile of noise, which does not pack."""
    return encoded(
        Image.open(io.BytesIO(image())), kind, icc_profile=random.Random(0).randbytes(size)
    )


def with_texts(*sizes: int, packed: bool) -> bytes:
    held = PngInfo()
    for number, size in enumerate(sizes):
        held.add_text(f"t{number}", "x" * size, zip=packed)
        held.add_itxt(f"i{number}", "x" * size, zip=packed)
    return encoded(Image.open(io.BytesIO(image())), "PNG", pnginfo=held)


@pytest.mark.parametrize(
    "data",
    [
        *(with_profile(kind, 1_600_000) for kind in ("PNG", "JPEG", "WEBP")),
        with_texts(2_000_000, packed=True),
        with_texts(2_000_000, packed=False),
        with_texts(*[1_000_000] * 40, packed=True),
        png_with_text_bomb(),
    ],
    ids=["PNG", "JPEG", "WEBP", "packed text", "plain text", "many texts", "text bomb"],
)
def test_side_data_of_any_size_costs_no_image_and_no_memory(data):
    """Pillow refuses the whole image for it; here all its pixels are read, and sent to models."""
    tracemalloc.start()
    assert (inspect(data).width, inspect(data, decoded=False).height) == (16, 12)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert np.array_equal(decode(data), np.asarray(Image.open(io.BytesIO(as_sent(data, 1000)))))
    perceptual_hash(data)


def test_a_text_of_usual_size_is_left_in():
    data = with_texts(10_000, packed=True)
    assert without_large_side_data(data) is data


@given(st.binary(max_size=200), st.sampled_from([b"iCCP", b"zTXt", b"iTXt", b"tEXt"]))
def test_no_side_data_is_called_damage(held, name):
    """Whatever a profile or text holds, the pixels are what counts."""
    chunk = struct.pack(">I", len(held)) + name + held + struct.pack(">I", zlib.crc32(name + held))
    plain = image()
    assert inspect(plain[:33] + chunk + plain[33:]).width == 16


@pytest.mark.parametrize(("kind", "extension"), FORMATS.items())
def test_every_format_is_admitted_with_its_size(kind, extension):
    """Width comes before height, and the extension follows from the bytes."""
    info = inspect(image_of(kind))
    kind = "JPEG" if kind == "MPO" else kind
    assert (info.format, info.extension, info.width, info.height) == (kind, extension, 16, 12)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (None, "image-missing"),
        (b"", "image-empty"),
        (b"a cat on a mat, renamed to cat.jpg", "image-format-not-allowed"),
        (encoded(Image.new("RGB", (16, 16)), "PPM"), "image-format-not-allowed"),
        (image(kind="JPEG", size=(64, 64))[:-200], "image-truncated"),
        (image(size=(64, 64))[:-200], "image-truncated"),
        (image(kind="WEBP", size=(64, 64))[:-200], "image-truncated"),
        (image(kind="JPEG")[:40], "image-truncated"),
        (image()[:12], "image-truncated"),
        (png_claiming(100_000, 100_000), "image-too-many-pixels"),
        (png_claiming(9_000, 9_000), "image-too-many-pixels"),
        (png_claiming(64, 64), "image-truncated"),
        (image(size=(7, 40)), "image-too-small"),
        (film("PNG"), "image-animated"),
        (film("WEBP"), "image-animated"),
        (film("AVIF"), "image-animated"),
    ],
)
def test_a_bad_image_is_rejected_with_its_reason(data, reason):
    """Each kind of damage has a stable slug of its own."""
    assert reason_of(data) == reason


def test_an_image_of_too_many_bytes_is_not_opened():
    """The limit on encoded bytes holds before anything is parsed."""
    assert reason_of(b"\xff\xd8\xff" * 100, max_bytes=299) == "image-too-large-bytes"


def test_a_bomb_is_refused_before_its_pixels_are_decoded(monkeypatch):
    """The size is read from the header alone."""
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    assert reason_of(png_claiming(9_000, 9_000)) == "image-too-many-pixels"


def test_the_pixel_limit_is_ours_and_not_pillows():
    """A limit below Pillow's own holds."""
    assert reason_of(image(size=(20, 20)), max_pixels=399) == "image-too-many-pixels"


def test_a_cameras_jpeg_with_a_preview_is_a_plain_jpeg():
    """Pillow calls such a file MPO and counts two frames; the first is the image."""
    red, blue = Image.new("RGB", (32, 16), "red"), Image.new("RGB", (32, 16), "blue")
    data = encoded(red, "MPO", save_all=True, append_images=[blue])
    assert inspect(data).extension == "jpg"
    assert decode(data, size=(4, 4))[0, 0].argmax() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_image_is_decoded_upright(orientation):
    """The white corner ends up at the top left, and the size is the upright one."""
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :8] = 255
    undo = [None, 0, 3, 1, 5, 2, 6, 4][orientation - 1]
    image = Image.fromarray(upright)
    stored = image if undo is None else image.transpose(Image.Transpose(undo))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, "JPEG", exif=exif, quality=95)
    assert (inspect(data).width, inspect(data).height) == (32, 16)
    pixels = decode(data)
    assert pixels[:6, :6].min() > 200
    assert pixels[10:, 10:].max() < 60


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("exif", [b"MM\0*\xff\xff\xff\xff", b"no TIFF", b""])
def test_damaged_exif_does_not_matter(exif):
    """An image whose EXIF cannot be read is taken as it lies, by inspect and decode alike."""
    data = encoded(Image.new("RGB", (16, 12)), "JPEG", exif=b"Exif\0\0" + exif)
    assert inspect(data).width == 16
    assert decode(data).shape == (12, 16, 3)


def test_transparent_pixels_lie_on_white():
    """Alpha is blended, whatever colour hides below it."""
    clear = encoded(Image.new("RGBA", (16, 16), (200, 0, 0, 0)), "PNG")
    palette = Image.new("P", (16, 16), 0)
    palette.putpalette([200, 0, 0])
    keyed = encoded(palette, "PNG", transparency=0)
    assert decode(clear).min() == 255
    assert decode(keyed).min() == 255


def test_sixteen_bit_grey_keeps_its_tones():
    """Pillow alone would clip it to white."""
    grey = np.full((16, 16), 0x8000, np.uint16)
    assert np.unique(decode(encoded(Image.fromarray(grey), "PNG"))).tolist() == [0x80]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_png_mode_becomes_rgb(mode):
    """The result is always uint8 of height, width, 3."""
    pixels = decode(encoded(Image.new(mode, (20, 10)), "PNG"), size=(5, 4))
    assert pixels.shape == (4, 5, 3)
    assert pixels.dtype == np.uint8


def test_cmyk_jpeg_becomes_rgb():
    """Print colours are converted."""
    data = encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")
    assert decode(data)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("orientation", [1, 6])
def test_a_large_jpeg_resized_by_draft_looks_like_the_full_resize(orientation):
    """Decoding at a reduced scale still leaves twice the pixels that the resize needs."""
    stripes = np.where(np.arange(256) // 20 % 2, 220, 30).astype(np.uint8)
    image = Image.fromarray(np.tile(stripes, (1024, 1)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(image, "JPEG", quality=95, exif=exif)
    size = (32, 16) if orientation == 1 else (16, 32)
    upright = image if orientation == 1 else image.transpose(Image.Transpose.ROTATE_270)
    full = np.asarray(upright.resize(size, Image.Resampling.BICUBIC).convert("RGB"), np.int16)
    assert np.abs(full - decode(data, size=size)).max() <= 8


@settings(max_examples=150, deadline=None)
@given(
    kind=st.sampled_from([kind for kind in FORMATS if kind not in ("HEIF", "MPO")]),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.floats(0.05, 1.0),
)
def test_what_inspect_admits_decode_decodes(kind, edits, keep):
    """Whatever bytes are changed or cut, an image is rejected at once or never fails later."""
    data = bytearray(image(kind=kind, size=(24, 24)))
    for at, value in edits:
        data[at % len(data)] = value
    data = bytes(data[: max(1, int(len(data) * keep))])
    try:
        info = inspect(data)
    except ImageRejected:
        return
    assert decode(data).shape == (info.height, info.width, 3)
    assert decode(data, size=(8, 8)).shape == (8, 8, 3)


@pytest.mark.parametrize("at", ["open", "load"])
def test_a_lack_of_memory_is_no_fault_of_the_image(monkeypatch, at):
    """Else it would depend on the machine's load what a version holds."""

    def full(*_, **__):
        raise MemoryError

    exif = Image.Exif()
    exif[0x0112] = 3
    out = io.BytesIO()
    Image.new("RGB", (16, 16)).save(out, "PNG", exif=exif)
    monkeypatch.setattr(*((Image, "open") if at == "open" else (Image.Image, "transpose")), full)
    with pytest.raises(MemoryError):
        inspect(out.getvalue())
