"""Shards and uploads: round trips, and tars that mean harm."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import image, sample, tar_of
from vila2.data.errors import DataError, ShardError
from vila2.data.sample import RawSample, Sample, Turn
from vila2.data.shards import read_raw_shard, read_shard, write_raw_shard, write_shard
from vila2.data.tar.reading import MAX_MEMBER_BYTES, plain_members
from vila2.data.tar.writing import TarOut

words = st.text(st.characters(exclude_categories=("Cs",)), max_size=40)
any_words = st.text(st.characters(), max_size=40)  # unpaired surrogates too
json_values = st.one_of(words, st.integers(), st.booleans(), st.none(), st.lists(words, max_size=3))
samples = st.lists(
    st.builds(
        Sample,
        key=st.from_regex(r"[A-Za-z0-9_-]{1,95}", fullmatch=True),
        image=st.binary(max_size=2000),
        extension=st.sampled_from(["jpg", "png", "webp"]),
        sha256=st.just("0" * 64),
        width=st.integers(1, 9999),
        height=st.integers(1, 9999),
        caption=words,
        turns=st.lists(st.builds(Turn, words, words), max_size=3).map(tuple),
        items=st.lists(st.dictionaries(words, json_values, max_size=3), max_size=2).map(tuple),
        source=words,
    ),
    unique_by=lambda made: made.key,
    max_size=5,
)
raws = st.lists(
    st.builds(
        RawSample,
        key=any_words,
        source=any_words,
        image=st.none() | st.binary(max_size=600),
        caption=st.none() | any_words,
        turns=st.lists(st.builds(Turn, any_words, any_words), max_size=3).map(tuple),
        items=st.lists(st.dictionaries(any_words, json_values, max_size=3), max_size=2).map(tuple),
        problem=st.none() | any_words,
    ),
    max_size=5,
)


def written(made: list[Sample]) -> bytes:
    out = io.BytesIO()
    write_shard(made, out)
    return out.getvalue()


@settings(max_examples=60, deadline=None)
@given(samples)
def test_a_shard_gives_back_what_was_written(made):
    """Every field of every sample survives, in order."""
    assert list(read_shard(written(made))) == made


@settings(max_examples=60, deadline=None)
@given(raws)
def test_an_upload_gives_back_what_was_written(made):
    """Bad bytes, missing images, problems and undecodable names included."""
    out = io.BytesIO()
    assert write_raw_shard(made, out) == len(made)
    assert list(read_raw_shard(out.getvalue())) == made


def test_equal_samples_give_equal_bytes():
    """No time or owner is written, and the order of a mapping's keys does not matter."""
    first = sample(items=({"id": "1", "question": "who?"},))
    second = sample(items=({"question": "who?", "id": "1"},))
    assert written([first]) == written([second])


def test_the_summary_describes_the_file():
    """Its digest is the shard's identity."""
    out = io.BytesIO()
    summary = write_shard([sample("a"), sample("b")], out)
    digest = hashlib.sha256(out.getvalue()).hexdigest()
    assert (summary.samples, summary.bytes, summary.sha256) == (2, len(out.getvalue()), digest)


def test_a_shard_can_be_read_from_a_path_and_from_a_stream(tmp_path):
    """All three sources give the same samples."""
    data = written([sample("a"), sample("b")])
    (tmp_path / "0.tar").write_bytes(data)
    assert list(read_shard(tmp_path / "0.tar")) == list(read_shard(io.BytesIO(data)))


def test_other_tools_can_read_a_shard():
    """It is a plain WebDataset: image, text and json stand together under one key."""
    with tarfile.open(fileobj=io.BytesIO(written([sample("a"), sample("b")]))) as tar:
        assert tar.getnames() == ["a.png", "a.txt", "a.json", "b.png", "b.txt", "b.json"]


@pytest.mark.parametrize("key", ["", "../a", "a/b", "a.b", "a\n", "ä", "x" * 96])
def test_a_key_that_cannot_name_a_file_is_not_written(key):
    """A shard that could not be read back must not come to be."""
    with pytest.raises(ShardError, match="cannot name"):
        written([sample(key, image=image())])


def test_a_key_that_occurs_twice_is_not_written():
    """Keys are how captions find their images."""
    with pytest.raises(ShardError, match="twice"):
        written([sample("a"), sample("b"), sample("a")])


def entry(name: str, kind: bytes, target: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        tar.addfile(info)
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (tar_of(("../evil.json", b"{}")), "outside"),
        (tar_of(("a/../../evil.json", b"{}")), "outside"),
        (tar_of(("/etc/passwd", b"root")), "outside"),
        (entry("a.jpg", tarfile.SYMTYPE, "/etc/passwd"), "link, device"),
        (entry("a.jpg", tarfile.LNKTYPE, "b.jpg"), "link, device"),
        (entry("a.jpg", tarfile.CHRTYPE), "link, device"),
        (entry("a.jpg", tarfile.FIFOTYPE), "link, device"),
        (entry("a.jpg", tarfile.GNUTYPE_SPARSE), "sparse"),
        (b"this is no tar at all" * 100, "not a readable tar"),
        (b"", "not a readable tar"),
    ],
)
@pytest.mark.parametrize("read", [read_shard, read_raw_shard])
def test_a_hostile_tar_is_refused(read, data, message):
    """Nothing is unpacked, and nothing outside the tar is named."""
    with pytest.raises(ShardError, match=message):
        list(read(data))


def test_a_member_that_claims_too_much_is_refused_unread():
    """The claim in the header is enough."""
    info = tarfile.TarInfo("a.bin")
    info.size = MAX_MEMBER_BYTES + 1
    with pytest.raises(ShardError, match="limit"):
        list(plain_members(info.tobuf() + b"\0" * 1024))


def test_a_compressed_upload_is_refused():
    """A small file must not grow without limit on the server."""
    data = tar_of(("a.json", b"{}"), mode="w:gz")
    assert list(plain_members(data, compressed=True)) == [("a.json", b"{}")]
    with pytest.raises(ShardError):
        list(plain_members(data))


@settings(max_examples=60, deadline=None)
@given(st.floats(0, 1, exclude_max=True))
def test_a_tar_that_is_cut_anywhere_is_an_error(part):
    """Also between two members, where Python's tarfile would stop as if all were well."""
    data = written([sample("a"), sample("b"), sample("c")])
    content = max(i for i in range(0, len(data), 512) if any(data[i : i + 512])) + 512
    with pytest.raises(ShardError):
        list(read_shard(data[: int(content * part)]))


def test_a_damaged_header_in_the_middle_is_an_error():
    """Samples behind it would be lost in silence."""
    data = bytearray(written([sample("a"), sample("b")]))
    data[data.index(b"b.png")] ^= 0xFF
    with pytest.raises(ShardError, match="damaged"):
        list(read_shard(bytes(data)))


@pytest.mark.parametrize(
    "members",
    [
        [("a.png", b"x")],
        [("a.json", b"{}")],
        [("a.png", b"x"), ("a.json", b"{}")],
        [("a.png", b"x"), ("a.json", b"[" * 100_000)],
        [("a.png", b"x"), ("a.json", b"\xff")],
        [("a.png", b"x"), ("a.png", b"y")],
        [("a b.png", b"x")],
        [("a", b"x")],
    ],
)
def test_a_tar_that_is_no_shard_is_refused(members):
    """Missing, doubled or malformed members are named in the error."""
    with pytest.raises(ShardError) as caught:
        list(read_shard(tar_of(*members)))
    assert caught.value.field


@pytest.mark.parametrize(
    "changes",
    [
        {"key": 7},
        {"caption": ["x"]},
        {"turns": [["only a question"]]},
        {"turns": [[1, 2]]},
        {"turns": "ab"},
        {"items": ["x"]},
        {"items": 3},
        {"problem": {}},
    ],
)
def test_an_upload_with_a_field_of_another_type_is_refused(changes):
    """A stranger's client may send anything."""
    about = {"key": "a", "source": "", "caption": "", "turns": [], "items": [], "problem": None}
    data = tar_of(("1.json", json.dumps({**about, **changes}).encode()))
    with pytest.raises(DataError, match="malformed"):
        list(read_raw_shard(data))


def test_an_image_too_large_to_send_travels_as_a_problem():
    """It is then counted at the store like any other."""
    out = io.BytesIO()
    huge = bytes(MAX_MEMBER_BYTES + 1)
    write_raw_shard([RawSample("a", "a.png", huge, "x")], out)
    (raw,) = read_raw_shard(out.getvalue())
    assert raw.image is None
    assert raw.problem.startswith("image-too-large-bytes: ")


NAMES = st.from_regex(r"[a-z]{1,90}\.txt", fullmatch=True)


@given(st.lists(st.tuples(NAMES, st.binary(max_size=1500)), max_size=6))
def test_a_tar_is_written_byte_for_byte_as_tarfile_writes_it(members):
    """Its headers come from a template; the format is the same."""
    ours, theirs = io.BytesIO(), io.BytesIO()
    with TarOut(ours) as out:
        offsets = [out.add(name, data) for name, data in members]
    with tarfile.open(fileobj=theirs, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    assert ours.getvalue() == theirs.getvalue()
    assert out.size == len(ours.getvalue())
    for offset, (_, data) in zip(offsets, members, strict=True):
        assert ours.getvalue()[offset : offset + len(data)] == data
