"""Hugging Face's image folders: tables of captions, folders of splits."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import image
from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.readers.files.splits import split_folder
from vila2.data.readers.formats import recognised
from vila2.data.sample import RawSample


def fill(root: Path, *names: str) -> None:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(image(number))


def read(root: Path, **options: object) -> list[RawSample]:
    return list(open_reader("imagefolder", root, ReadOptions(**options)).read())  # type: ignore[arg-type]


def told(root: Path, **options: object) -> list[tuple[str, str]]:
    """Each sample's source and its caption or the slug of its problem."""
    return [
        (raw.source, (raw.problem or "").partition(":")[0] or raw.caption or "")
        for raw in read(root, **options)
    ]


def write_table(root: Path, kind: str, rows: list[dict[str, object]]) -> None:
    if kind == "csv":
        lines = ["file_name,text", *(f"{row['file_name']},{row['text']}" for row in rows)]
        (root / "metadata.csv").write_text("\n".join(lines))
    elif kind == "jsonl":
        text = "\n".join(json.dumps(row) for row in rows)
        (root / "metadata.jsonl").write_text(text)
    else:
        pq.write_table(pa.Table.from_pylist(rows), root / "metadata.parquet")


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_captions_are_those_of_the_table(tmp_path: Path, kind: str) -> None:
    """Of images in sub folders too, whose names say nothing of the text."""
    fill(tmp_path, "cats/a.png", "dogs/b.png", "c.png")
    rows = [{"file_name": name, "text": f"about {name}"} for name in ("dogs/b.png", "cats/a.png")]
    write_table(tmp_path, kind, [*rows, {"file_name": "gone.png", "text": "x"}])
    (tmp_path / "notes.pdf").write_bytes(b"x")
    (tmp_path / "README.md").write_text("card")
    assert told(tmp_path) == [
        ("dogs/b.png", "about dogs/b.png"),
        ("cats/a.png", "about cats/a.png"),
        ("gone.png", "image-missing"),
        ("c.png", "caption-missing"),
        ("notes.pdf", "file-unknown"),
    ]


def test_a_table_in_a_folder_names_the_images_of_that_folder(tmp_path: Path) -> None:
    fill(tmp_path, "x/a.png", "y/a.png")
    for name in "xy":
        write_table(tmp_path / name, "csv", [{"file_name": "a.png", "text": f"an {name}"}])
    assert told(tmp_path) == [("x/a.png", "an x"), ("y/a.png", "an y")]


def test_splits_are_not_mixed_without_being_asked(tmp_path: Path) -> None:
    """One is chosen, or all; what is said names them."""
    for split in ("train", "test"):
        fill(tmp_path, f"{split}/cats/a.png")
        write_table(tmp_path / split, "csv", [{"file_name": "cats/a.png", "text": split}])
    with pytest.raises(DataError, match=r"several splits: test \(1 file\), train \(1 file\)"):
        read(tmp_path)
    assert told(tmp_path, split="test") == [("test/cats/a.png", "test")]
    assert len(read(tmp_path, split="all")) == 2
    with pytest.raises(DataError, match="has no split 'dev'"):
        read(tmp_path, split="dev")


def test_a_table_above_the_splits_serves_the_chosen_one(tmp_path: Path) -> None:
    fill(tmp_path, "train/a.png", "test/a.png")
    rows = [{"file_name": f"{split}/a.png", "text": split} for split in ("train", "test")]
    write_table(tmp_path, "jsonl", rows)
    assert told(tmp_path, split="train") == [("train/a.png", "train")]


def test_folders_of_splits_without_a_table_are_not_mixed_either(tmp_path: Path) -> None:
    """In the format `folder`; its table decides if there is one."""
    fill(tmp_path, "train/a.png", "test/b.png")
    for name in ("train/a", "test/b"):
        (tmp_path / f"{name}.txt").write_text(name)
    with pytest.raises(DataError, match="several splits"):
        open_reader("folder", tmp_path)
    (found,) = open_reader("folder", tmp_path, ReadOptions(split="train")).read()
    assert found.source == "train/a.png"
    (tmp_path / "captions.csv").write_text("image,caption\ntrain/a.png,a\ntest/b.png,b\n")
    found = [raw for raw in open_reader("folder", tmp_path).read() if raw.problem is None]
    assert len(found) == 2
    with pytest.raises(DataError, match=r"captions\.csv says what is read"):
        open_reader("folder", tmp_path, ReadOptions(split="train"))


@pytest.mark.parametrize(("name", "split"), [
    ("train/a.png", "train"), ("data/val/x/a.png", "validation"), ("a/train/b.png", ""),
    ("test.png", ""), ("Test/test_3.png", "test"), ("data/a.png", ""),
])  # fmt: skip
def test_a_split_is_the_name_of_a_whole_folder(name: str, split: str) -> None:
    """And not a word in a file's name."""
    assert split_folder(name) == split


def test_all_captions_of_an_image_are_kept(tmp_path: Path) -> None:
    """In several rows, or in a list."""
    fill(tmp_path, "a.png")
    rows = [{"file_name": "a.png", "text": ["one", " "]}, {"file_name": "./a.png", "text": "two"}]
    write_table(tmp_path, "jsonl", rows)
    (found,) = read(tmp_path)
    assert (found.caption, found.more_captions) == ("one", ("two",))


def test_images_without_a_table_are_to_be_captioned(tmp_path: Path) -> None:
    """Class folders are no captions."""
    fill(tmp_path, "cats/a.png")
    assert open_reader("imagefolder", tmp_path).bare
    assert told(tmp_path, captionless=True) == [("cats/a.png", "")]


def test_columns_can_be_named_and_a_missing_one_is_told(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_text("image_file_name,note\na.png,a note\n")
    assert told(tmp_path, caption_field="note") == [("a.png", "a note")]
    with pytest.raises(DataError, match=r"has no column caption .*--caption-field"):
        read(tmp_path)
    with pytest.raises(DataError, match="has no column picture"):
        read(tmp_path, image_field="picture")
    (tmp_path / "metadata.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"holds several of metadata\.csv"):
        read(tmp_path)


def test_a_bad_row_costs_itself(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b.png")
    lines = ["{", "[]", '{"file_name": 3}', '{"file_name": "a.png", "caption": 7}',
             '{"file_name": "b.png", "caption": "a b"}',
             '{"file_name": "../../x", "caption": "x"}']  # fmt: skip
    first = '{"file_name": "none.png", "caption": "x"}'
    (tmp_path / "metadata.jsonl").write_text("\n".join([first, *lines]))
    found = dict(told(tmp_path))
    assert [found[f"metadata.jsonl line {n}"] for n in range(2, 6)] == ["row-malformed"] * 4
    assert found["b.png"] == "a b"
    assert found["../../x"] == "path-outside"
    assert found["a.png"] == "caption-missing"


@pytest.mark.parametrize(("data", "encoding", "caption"), [
    ("file_name,text\na.png,café\n".encode("utf-16"), "", "café"),
    ("\ufefffile_name,text\na.png,café\n".encode(), "", "café"),
    ("file_name,text\na.png,café\n".encode("latin-1"), "latin-1", "café"),
    ("file_name,text\na.png,café\n".encode("latin-1"), "", "caf\udce9"),
])  # fmt: skip
def test_a_table_is_decoded_by_its_mark_or_by_the_option(
    tmp_path: Path, data: bytes, encoding: str, caption: str
) -> None:
    """Else the byte is kept apart, and admission refuses the row by name."""
    fill(tmp_path, "a.png")
    (tmp_path / "metadata.csv").write_bytes(data)
    assert told(tmp_path, encoding=encoding) == [("a.png", caption)]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6),
    st.binary(max_size=30),
)
def test_any_table_ends_in_samples_or_problems(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], tail: bytes
) -> None:
    root = tmp_path_factory.mktemp("any")
    fill(root, "a.png")
    good = {"file_name": "a.png", "caption": "x"}
    text = "\n".join(json.dumps(row) for row in [good, *(dict([row]) for row in rows)])
    (root / "metadata.jsonl").write_bytes(text.encode() + b"\n" + tail)
    found = read(root)
    assert found[0].key or found
    assert {raw.source for raw in found} >= {"a.png"}


@pytest.mark.parametrize(("name", "format"), [
    ("a.tar", "webdataset"), ("b.tar.gz", "webdataset"), ("c.parquet", "parquet"),
    ("hf", "imagefolder"), ("plain", "folder"), ("ours", "folder"), ("d.txt", "folder"),
])  # fmt: skip
def test_a_path_is_recognised_and_it_is_said_why(tmp_path: Path, name: str, format: str) -> None:
    """A plain folder needs no words."""
    fill(tmp_path, "hf/train/a.png", "plain/a.png", "ours/a.png")
    (tmp_path / "hf/train/metadata.csv").write_text("x")
    for table in ("captions.csv", "metadata.csv"):
        (tmp_path / "ours" / table).write_text("x")
    found, why = recognised(tmp_path / name)
    assert found == format
    assert bool(why) == (format != "folder")
