"""Files made to do harm: each ends as a clear error or a counted sample."""

from __future__ import annotations

import gzip
import io
import itertools
import tarfile
import zipfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.support.datasets.samples import encoded, image, tar_of
from vila2.data.errors import DataError, ShardError
from vila2.data.images.decoding import ImageRejected, inspect
from vila2.data.images.trailing_data import end_of, foreign_tail
from vila2.data.readers import ReadOptions
from vila2.data.sandboxed_reader import read_apart
from vila2.data.tar.reading import members_of


def special(kind: bytes, name: str = "x", link: str = "/etc/passwd") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        tar.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE],
)
def test_links_and_devices_in_a_tar_are_refused(kind):
    """By name, with what to pack instead."""
    with pytest.raises(ShardError, match="link, device or sparse"):
        list(members_of(special(kind)))


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a/../../x", "a/.."])
def test_names_that_leave_the_tar_are_refused(name):
    """Nothing is unpacked to disk, and nothing may hope to be."""
    with pytest.raises(ShardError, match="outside"):
        list(members_of(tar_of((name, b"x"))))


def test_a_tar_of_very_many_files_is_refused():
    """At the first file too many, not after the last."""
    data = tar_of(*((f"{n}.txt", b"") for n in range(300)))
    members = members_of(data, limit=100)
    assert len(list(itertools.islice(members, 100))) == 100
    with pytest.raises(ShardError, match="more than 100 files"):
        next(members)


def test_a_header_that_claims_gigabytes_is_not_read():
    """A long name or a PAX attribute goes into memory whole before it can be asked about."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 8 * 1024**3
    with pytest.raises(ShardError, match="claims"):
        list(members_of(info.tobuf(tarfile.GNU_FORMAT) + bytes(10240)))


def test_a_tar_that_expands_without_end_is_refused():
    """A few kilobytes of gzip must not become gigabytes of zeros."""
    bomb = gzip.compress(tar_of(*((f"{n}.txt", bytes(4 << 20)) for n in range(30))))
    with pytest.raises(ShardError, match="expands"):
        list(members_of(bomb, compressed=True))


def archive() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as held:
        held.writestr("run.sh", "echo")
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(
    "tail",
    [
        archive(),
        b"%PDF-1.7 ...",
        b"\n<html><script>",
        b"<?php system(1);",
        b"\x7fELF\x02",
        b"MZ\x90",
    ],
)
def test_an_image_that_is_something_else_as_well_is_refused(kind, tail):
    """Whoever unpacks or serves the dataset later would hand it on."""
    with pytest.raises(ImageRejected) as caught:
        inspect(image(0, kind=kind) + tail)
    assert caught.value.reason == "image-polyglot"


@pytest.mark.parametrize("tail", [b"", b"\0" * 700, b"\r\n", b"\xff\xd8\xff\xe0 a preview",
                                  b"\0\0\0\x18ftypmp42 a film"])  # fmt: skip
def test_what_cameras_and_tools_leave_behind_a_jpeg_stays(tail):
    """Padding, previews and motion photos are no attack."""
    assert inspect(image(0, kind="JPEG") + tail).extension == "jpg"


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"quality": 100}, {"exif": b"x" * 99}]
)
@given(seed=st.integers(0, 200), tail=st.binary(max_size=30))
def test_the_end_of_a_jpeg_is_found_in_its_structure(options, seed, tail):
    """Whatever the coded data looks like; a stuffed byte is no marker."""
    data = image(seed, size=(40, 30), kind="PNG")
    jpeg = encoded(Image.open(io.BytesIO(data)), "JPEG", **options)
    assert end_of(jpeg + tail, "jpg") == len(jpeg)


@given(st.binary(max_size=400), st.sampled_from(["jpg", "png", "webp"]))
def test_any_bytes_have_an_end(data, extension):
    """The search ends, within the data."""
    end = end_of(data, extension)
    assert end is None or 0 <= end <= len(data)
    foreign_tail(data, end)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@given(cut=st.floats(0, 0.999))
def test_a_cut_image_is_found_by_its_structure_alone(kind, cut):
    """Without decoding a pixel, wherever it was cut."""
    data = image(0, size=(40, 30), kind=kind)
    assert inspect(data, decoded=False) == inspect(data)
    with pytest.raises(ImageRejected):
        inspect(data[: int(cut * len(data))], decoded=False)


@given(at=st.integers(8, 2000), bit=st.integers(0, 7))
def test_a_flipped_bit_of_a_png_is_found_by_its_checksums(at, bit):
    """Or by its header; nothing of it passes."""
    data = bytearray(image(0, size=(40, 30)))
    data[min(at, len(data) - 1)] ^= 1 << bit
    with pytest.raises(ImageRejected):
        inspect(bytes(data), decoded=False)


def test_a_file_whose_reader_dies_is_a_clear_error(tmp_path: Path, monkeypatch):
    """Memory is bounded in the reader's own process; the caller hears which file it was."""
    import vila2.data.sandboxed_reader as apart

    path = tmp_path / "captions.csv"
    path.write_text("image,caption\n")
    (tmp_path / "a.png").write_bytes(image(0))
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\necho 'MemoryError: no more' >&2\nkill -9 $$\n")
    program.chmod(0o755)
    monkeypatch.setattr(apart.sys, "executable", str(program))
    with pytest.raises(DataError, match="its reader ended"):
        list(read_apart("folder", tmp_path, ReadOptions()))


def test_an_error_that_the_reader_can_name_comes_through(tmp_path: Path):
    """With its field and its fix, as if it were read here."""
    (tmp_path / "captions.csv").write_text("photo,text\na.png,a\n")
    (tmp_path / "a.png").write_bytes(image(0))
    with pytest.raises(DataError, match="has no column image, caption") as caught:
        list(read_apart("folder", tmp_path, ReadOptions()))
    assert caught.value.fix
    assert str(tmp_path) not in str(caught.value)
