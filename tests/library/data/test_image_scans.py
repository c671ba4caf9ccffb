"""JPEGs that are decoded many times over: counted before they are."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from vila2.data.images.decoding import ImageLimits, ImageRejected, inspect
from vila2.data.images.trailing_data import jpeg_structure


def progressive(side: int = 64) -> bytes:
    out = io.BytesIO()
    Image.effect_noise((side, side), 80).convert("RGB").save(out, "JPEG", progressive=True)
    return out.getvalue()


def with_more_scans(data: bytes, more: int) -> bytes:
    """The last scan again and again, as an attacker would write it: valid, and a few bytes each."""
    end, last = data.rindex(b"\xff\xd9"), data.rindex(b"\xff\xda")
    return data[:end] + data[last:end] * more + data[end:]


def test_what_encoders_write_is_admitted() -> None:
    data = progressive()
    assert 1 < jpeg_structure(data).scans <= 20
    assert inspect(data).width == 64


@pytest.mark.parametrize("decoded", [True, False])
def test_a_jpeg_with_a_scan_repeated_is_refused(decoded: bool) -> None:
    """Also where pixels are not decoded now: they would be at each reading."""
    data = with_more_scans(progressive(), 500)
    with pytest.raises(ImageRejected, match="scans, the limit at its size is 64") as refused:
        inspect(data, decoded=decoded)
    assert refused.value.reason == "image-too-many-scans"


def test_a_large_image_may_have_fewer_scans() -> None:
    """The bound is on the work: pixels times scans."""
    limits = ImageLimits(max_scan_pixels=64 * 64 * 8)
    with pytest.raises(ImageRejected, match="the limit at its size is 8"):
        inspect(progressive(), limits=limits)
    assert inspect(progressive(32), limits=limits).width == 32


def test_scans_are_counted_where_the_data_is_cut() -> None:
    """Without an end the decoder would still begin."""
    data = with_more_scans(progressive(), 100)
    cut = jpeg_structure(data[:-2])
    assert (cut.end, cut.scans) == (None, jpeg_structure(data).scans)


def test_a_marker_within_a_segment_is_no_scan() -> None:
    """A preview in the metadata is not decoded."""
    data = progressive()
    comment = b"\xff\xfe" + (2 + 20).to_bytes(2, "big") + b"\xff\xda" * 10
    assert jpeg_structure(data[:2] + comment + data[2:]).scans == jpeg_structure(data).scans
