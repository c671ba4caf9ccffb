"""WebDataset tars as others pack them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.datasets.samples import image, sample, tar_of
from vila2.data.admission import Admission
from vila2.data.errors import DataError
from vila2.data.readers import open_reader
from vila2.data.sample import RawSample, Turn
from vila2.data.shards import write_shard

IMAGE = image()


def read(path: Path) -> list[RawSample]:
    return list(open_reader("webdataset", path).read())


def problem_of(tmp_path: Path, *members: tuple[str, bytes]) -> str:
    tar_of(*members, ("z.png", image(9)), ("z.txt", b"last"), path=tmp_path / "0.tar")
    *_, bad, last = read(tmp_path)
    assert last.caption == "last"
    return (bad.problem or "").partition(":")[0]


@pytest.mark.parametrize("about", [{"caption": "x"}, {"text": "x"}, {"caption": None, "text": "x"}])
def test_a_caption_stands_in_the_json(tmp_path, about):
    """Under any of the usual names."""
    tar_of(("a.jpg", IMAGE), ("a.json", json.dumps(about).encode()), path=tmp_path / "0.tar")
    assert [(r.key, r.caption) for r in read(tmp_path)] == [("a", "x")]


def test_a_text_goes_before_the_json(tmp_path):
    """The json of a downloader holds metadata, and may be anything."""
    tar_of(
        ("d/a.JPG", IMAGE), ("d/a.txt", b"x"), ("d/a.json", b"[1]"), ("d/a.cls", b"3"),
        path=tmp_path / "0.tar",
    )  # fmt: skip
    (found,) = read(tmp_path)
    assert (found.caption, found.image, found.source) == ("x", IMAGE, "0.tar/d/a.jpg")


def test_a_tar_a_folder_and_a_pattern_give_the_same_samples(tmp_path):
    """Tars in name order; gzip is no hindrance."""
    for number in (1, 0):
        name = f"part.{number}"
        members = (("000.png", IMAGE), ("000.txt", name.encode()))
        tar_of(*members, path=tmp_path / f"{name}.tar", mode="w:gz" if number else "w")
    assert [r.caption for r in read(tmp_path)] == ["part.0", "part.1"]
    assert read(tmp_path / "part.*.tar") == read(tmp_path)
    assert read(tmp_path / "part.0.tar") == read(tmp_path)[:1]


def test_samples_of_one_name_in_two_tars_have_keys_of_their_own(tmp_path):
    """Many packers count from zero in every tar."""
    for number in range(2):
        tar_of(("0.png", IMAGE), ("0.txt", b"x"), path=tmp_path / f"{number}.tar")
    first, second = read(tmp_path)
    assert first.key == "0"
    assert second.key.startswith("0-")


@pytest.mark.parametrize(
    ("members", "slug"),
    [
        ([("a.txt", b"x")], "image-missing"),
        ([("a.svg", IMAGE), ("a.txt", b"x")], "image-missing"),
        ([("a.png", IMAGE)], "caption-missing"),
        ([("a.png", IMAGE), ("a.json", b"{}")], "caption-missing"),
        ([("a.png", IMAGE), ("a.json", b"[]")], "json-malformed"),
        ([("a.png", IMAGE), ("a.json", b"{")], "json-malformed"),
        ([("a.png", IMAGE), ("a.json", b"[" * 99999)], "json-malformed"),
        ([("a.png", IMAGE), ("a.json", b'{"turns": [[1, 2]]}')], "json-malformed"),
        ([("a.png", IMAGE), ("a.json", b'{"items": [3]}')], "json-malformed"),
        ([("a.png", IMAGE), ("a.png", IMAGE), ("a.txt", b"x")], "member-duplicate"),
    ],
)
def test_a_bad_sample_is_reported_and_the_next_is_read(tmp_path, members, slug):
    """Each kind of damage has its slug."""
    assert problem_of(tmp_path, *members) == slug


def test_our_own_shard_is_read_with_turns_and_items(tmp_path):
    """So a version can be submitted again as it is."""
    asked = {"id": "1", "benchmark": "b", "kind": "k", "question": "q", "answers": ["a"]}
    made = sample("a", turns=(Turn("who?", "me"),), items=({**asked, "metric": "exact"},))
    with (tmp_path / "0.tar").open("wb") as out:
        write_shard([made], out)
    (again,) = Admission().through(read(tmp_path))
    assert (again.key, again.caption, again.turns, again.items) == (
        made.key, made.caption, made.turns, made.items,
    )  # fmt: skip


def test_a_pattern_without_a_match_is_an_error(tmp_path):
    """It is not read as an empty dataset."""
    with pytest.raises(DataError, match=r"holds no \.tar"):
        open_reader("webdataset", tmp_path / "*.tar")


@pytest.mark.parametrize("start", ["", "./", "deep/"])
def test_what_macos_adds_to_a_tar_is_no_sample(tmp_path, start):
    """It packs `._NAME` before every file, which keeps neighbours of one stem apart."""
    members = []
    for name in ("a.png", "a.txt", "b.png", "b.txt"):
        data = image(ord(name[0])) if name.endswith("png") else b"x"
        members += [(f"{start}._{name}", b"\0\5\x16\7"), (start + name, data)]
    tar_of(*members, ("__MACOSX/._a.png", b""), ("__meta__", b"{}"), path=tmp_path / "0.tar")
    assert [(r.problem, r.caption) for r in read(tmp_path)] == [(None, "x")] * 2


@pytest.mark.parametrize("name", ["0.tar.gz", "0.tgz", "0.TAR"])
def test_a_tar_is_one_under_each_of_its_suffixes(tmp_path, name):
    mode = "w" if name.endswith("TAR") else "w:gz"
    tar_of(("a.png", IMAGE), ("a.txt", b"x"), path=tmp_path / name, mode=mode)
    assert [r.caption for r in read(tmp_path)] == ["x"]


@pytest.mark.parametrize("name", ["b.zip", "b.tar.zst", "below/c.tar"])
def test_an_archive_that_is_not_read_is_named(tmp_path, name):
    """Beside tars that are: half a dataset would be missing without a word."""
    tar_of(("a.png", IMAGE), ("a.txt", b"x"), path=tmp_path / "a.tar")
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"PK")
    told = {r.source: (r.problem or "").partition(":")[0] for r in read(tmp_path)}
    assert told == {"a.tar/a.png": "", name: "archive-unread"}
