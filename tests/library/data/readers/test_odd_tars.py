"""Tars with members that are not plain files, tars joined to one, and tars that are damaged."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.datasets.samples import image, tar_of
from vila2.data.readers import open_reader
from vila2.data.sample import RawSample

IMAGE = image()


def read(path: Path) -> list[RawSample]:
    return list(open_reader("webdataset", path).read())


def outcomes(path: Path) -> list[tuple[str, str]]:
    """Of each sample its key and the reason why it is not admitted."""
    return [(raw.key, (raw.problem or "").partition(":")[0]) for raw in read(path)]


def pair(key: str) -> list[tuple[str, bytes]]:
    return [(f"{key}.png", IMAGE), (f"{key}.txt", b"x")]


def special(kind: bytes, name: str) -> bytes:
    """The header of a link or device: a tar without its end mark."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "a.txt"
    return info.tobuf()


def unended(*members: tuple[str, bytes]) -> bytes:
    """A tar without its end mark."""
    out = io.BytesIO()
    for name, data in members:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        out.write(info.tobuf() + data + b"\0" * (-len(data) % 512))
    return out.getvalue()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_a_link_or_device_costs_its_own_sample_only(tmp_path: Path, kind: bytes) -> None:
    """With the member's name and what to do."""
    before, after = unended(*pair("a"), ("b.png", IMAGE)), tar_of(*pair("c"), *pair("d"))
    (tmp_path / "0.tar").write_bytes(before + special(kind, "b.txt") + after)
    assert outcomes(tmp_path) == [("a", ""), ("b", "member-not-plain"), ("c", ""), ("d", "")]
    problem = str(read(tmp_path)[1].problem)
    assert "'b.txt' is a link, device or sparse file" in problem
    assert "Pack plain files only" in problem


@pytest.mark.parametrize("evil", ["../evil.png", "/evil.png"])
def test_a_name_that_leaves_the_tar_costs_its_own_sample_only(tmp_path: Path, evil: str) -> None:
    tar_of(*pair("a"), (evil, IMAGE), *pair("b"), path=tmp_path / "0.tar")
    (_, first), (_, bad), (_, last) = outcomes(tmp_path)
    assert (first, bad, last) == ("", "member-not-plain", "")


@pytest.mark.parametrize("packed", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_tars_joined_with_cat_are_read_to_their_end(
    tmp_path: Path, packed: Callable[[bytes], bytes]
) -> None:
    """Compressed or not, as `tar -i` reads them."""
    joined = b"".join(packed(tar_of(*pair(f"{n}a"), *pair(f"{n}b"))) for n in range(2))
    (tmp_path / "0.tar").write_bytes(joined)
    assert outcomes(tmp_path) == [("0a", ""), ("0b", ""), ("1a", ""), ("1b", "")]


@pytest.mark.parametrize("tail", [b"<html>", b"x" * 512, b"\0" * 700 + b"x" * 2000])
def test_bytes_behind_the_end_that_are_no_tar_are_reported(tmp_path: Path, tail: bytes) -> None:
    (tmp_path / "0.tar").write_bytes(tar_of(*pair("a")) + tail)
    assert outcomes(tmp_path) == [("a", ""), ("0", "tar-damaged")]


@pytest.mark.parametrize("zeros", [0, 1, 512, 1023, 10240, 100_000])
def test_zeros_behind_the_end_are_nothing(tmp_path: Path, zeros: int) -> None:
    """Tools fill up to a block of their own size."""
    (tmp_path / "0.tar").write_bytes(tar_of(*pair("a")) + b"\0" * zeros)
    assert outcomes(tmp_path) == [("a", "")]


def test_a_damaged_tar_is_reported_and_the_next_is_read(tmp_path: Path) -> None:
    """With the number of samples that came before."""
    data = tar_of(*pair("a"), *pair("b"))
    (tmp_path / "0.tar").write_bytes(data.replace(b"b.png", b"\xffxpng"))
    tar_of(*pair("c"), path=tmp_path / "1.tar")
    cut, damaged, last = read(tmp_path)
    assert str(cut.problem).startswith("sample-cut: ")
    assert str(damaged.problem).startswith("tar-damaged: after 1 sample: ")
    assert last.caption == "x"


def test_a_cut_tar_is_reported(tmp_path: Path) -> None:
    """Even where the cut falls between two members."""
    data = tar_of(*pair("a"), *pair("b"))
    (tmp_path / "0.tar").write_bytes(data[: data.index(b"b.txt")])
    assert outcomes(tmp_path) == [("a", ""), ("b", "sample-cut"), ("0", "tar-damaged")]


_MEMBERS = st.sampled_from(["plain", "link", "hard link", "outside", "end", "folder"])


@given(st.lists(_MEMBERS, max_size=12))
def test_every_sample_of_a_tar_is_read_or_counted(made: list[str]) -> None:
    """Whatever stands between them."""
    data, expected = b"", Counter[str]()
    for number, kind in enumerate(made):
        key = f"k{number:03d}"
        if kind == "plain":
            data += unended(*pair(key))
            expected[""] += 1
        elif kind == "end":
            data += b"\0" * 1024
        elif kind == "folder":
            data += special(tarfile.DIRTYPE, f"{key}/")
        else:
            evil = special(
                tarfile.LNKTYPE if kind == "hard link" else tarfile.SYMTYPE,
                f"../{key}.txt" if kind == "outside" else f"{key}.txt",
            )
            data += unended((f"{key}.png", IMAGE)) + evil
            expected["member-not-plain"] += 1
            # A name outside the tar is a sample of its own.
            expected["caption-missing"] += kind == "outside"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "0.tar"
        path.write_bytes(data + b"\0" * 1024)
        assert Counter(reason for _, reason in outcomes(path)) == +expected
