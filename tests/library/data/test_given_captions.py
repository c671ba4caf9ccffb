"""Captions that somebody has already: read from each kind of file, and matched to samples."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vila2.data.errors import DataError
from vila2.data.given_captions.files import GivenCaption, read_captions
from vila2.data.given_captions.matching import Matching, Named, Rows, match, no_match
from vila2.data.given_captions.upload import MAX_CHARACTERS, batches, encode_captions, of_batches
from vila2.data.readers import ReadOptions
from vila2.data.sandboxed_reader import read_apart

PAIRS = [("a/Ü 1.jpg", "a fox,\nred"), ("b.png", ""), ("7", "an owl")]


def parquet(path: Path, **columns: object) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def table(folder: Path, kind: str) -> Path:
    """PAIRS in a file of that kind."""
    path = folder / f"captions.{kind}"
    rows = [{"file_name": key, "text": caption} for key, caption in PAIRS]
    if kind in ("csv", "tsv"):
        mark = "," if kind == "csv" else "\t"
        lines = [mark.join(("split", "FILE_NAME", "Text"))]
        lines += [mark.join(("x", f'"{key}"', f'"{caption}"')) for key, caption in PAIRS]
        path.write_text("\ufeff" + "\r\n".join(lines), newline="")
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps(row) for row in rows))
    elif kind == "json":
        path.write_text(json.dumps(rows))
    elif kind == "parquet":
        keys, captions = zip(*PAIRS, strict=True)
        parquet(path, file_name=keys, text=[caption or None for caption in captions])
    else:
        path = folder / "texts"
        for key, caption in PAIRS:
            (path / key).parent.mkdir(parents=True, exist_ok=True)
            (path / f"{key}.txt").write_text(caption)
            (path / key).write_bytes(b"an image, which is not looked at")
        (path / ".hidden.txt").write_text("no caption")
    return path


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet", "folder"])
def test_captions_are_read_from_every_kind_of_file(tmp_path: Path, kind: str) -> None:
    """Columns by their usual names in any case; every row says where it stands."""
    found = list(read_captions(table(tmp_path, kind)))
    wanted = sorted(PAIRS) if kind == "folder" else PAIRS
    assert sorted((row.key, row.caption) for row in found) == sorted(wanted)
    assert len({row.row for row in found}) == 3


@pytest.mark.parametrize("held", [
    {"a.jpg": "a fox"}, {"a.jpg": {"caption": "a fox", "tags": "x"}},
    {"a.jpg": {"output": "a fox"}},
])  # fmt: skip
def test_a_json_object_goes_from_keys_to_captions(tmp_path: Path, held: dict) -> None:
    """As other trainers and VILA write it."""
    (tmp_path / "c.json").write_text(json.dumps(held))
    (row,) = read_captions(tmp_path / "c.json")
    assert (row.key, row.caption) == ("a.jpg", "a fox")


def test_columns_can_be_named(tmp_path: Path) -> None:
    """Where the usual ones hold something else; numbers are keys too."""
    path = parquet(tmp_path / "c.parquet", id=[1, 2], caption=["old", "old"], new=["a", "b"])
    found = read_captions(path, key_column="id", caption_column="new")
    assert [(row.key, row.caption) for row in found] == [("1", "a"), ("2", "b")]
    path = parquet(tmp_path / "d.parquet", text=["a.jpg"], words=["a fox"])
    (row,) = read_captions(path, key_column="text", caption_column="words")
    assert (row.key, row.caption) == ("a.jpg", "a fox")


def test_hugging_faces_images_are_keys_by_their_path(tmp_path: Path) -> None:
    """Without their bytes being read."""
    path = parquet(tmp_path / "c.parquet", image=[{"bytes": b"x", "path": "a.jpg"}], text=["a"])
    assert [row.key for row in read_captions(path)] == ["a.jpg"]


@pytest.mark.parametrize(("name", "text", "message"), [
    ("c.csv", b"image,caption\na.jpg,caf\xe9\n", r"line 2 is not UTF-8 \(byte 0xe9\).*Save"),
    ("c.csv", b"image,caption\na.jpg,x,y\n", "line 2 has 3 cells, the first line has 2"),
    ("c.csv", b"image,caption\n,x\n", "line 2 has no key"),
    ("c.csv", b"image,words\na.jpg,x\n", "none of the columns caption.*image, words.*--caption-co"),
    ("c.csv", b"image,caption\n", "holds no caption"),
    ("c.jsonl", b'{"image": "a", "caption": "x"}\n{"image"\n', "line 2 .*not JSON"),
    ("c.jsonl", b'{"image": "a", "caption": ["x"]}\n', "line 1 the caption is list"),
    ("c.jsonl", b'{"image": "a", "caption": "x"}\n{"caption": "y"}\n', "line 2 has no key"),
    ("c.json", b'"x"', "neither a list nor an object"),
    ("c.xlsx", b"x", "no file of captions that is known.*folder of .txt"),
    ("c.parquet", b"x", "not a readable Parquet"),
])  # fmt: skip
def test_what_cannot_be_read_is_an_error_that_names_the_row_and_the_fix(
    tmp_path: Path, name: str, text: bytes, message: str
) -> None:
    """No caption is dropped or damaged without a word."""
    (tmp_path / name).write_bytes(text)
    with pytest.raises(DataError, match=message):
        list(read_captions(tmp_path / name))


texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


@given(held=st.lists(st.builds(GivenCaption, texts.filter(bool), texts, texts), max_size=5))
def test_rows_are_sent_as_one_parquet_file(tmp_path_factory, held: list[GivenCaption]) -> None:
    """And come out as they went in."""
    path = tmp_path_factory.mktemp("sent") / "body"
    path.write_bytes(encode_captions(held))
    assert list(of_batches(batches(path))) == held


def test_a_file_that_was_sent_is_read_in_another_process(tmp_path: Path) -> None:
    """However many rows it has; without the column `row`, rows have numbers."""
    path = parquet(tmp_path / "body", key=[f"k{n}" for n in range(30_000)], caption=["x"] * 30_000)
    found = list(of_batches(read_apart("captions", path, ReadOptions())))
    assert (len(found), found[-1]) == (30_000, GivenCaption("row 30000", "k29999", "x"))


@pytest.mark.parametrize(("columns", "message"), [
    ({"key": ["a"], "caption": [1]}, "no column of text caption"),
    ({"name": ["a"], "caption": ["x"]}, "no column of text key"),
    ({"key": ["a"], "caption": ["x" * (MAX_CHARACTERS + 1)]}, "row 1 has 100,001 characters"),
])  # fmt: skip
def test_a_file_of_another_shape_is_refused(tmp_path: Path, columns: dict, message: str) -> None:
    """The error says what to send."""
    with pytest.raises(DataError, match=message):
        list(read_apart("captions", parquet(tmp_path / "body", **columns), ReadOptions()))


def rows(*given: tuple[str, str]) -> Rows:
    return Rows.of(GivenCaption(f"line {n}", *row) for n, row in enumerate(given, 2))


def matched(made: Rows, *samples: Named) -> Matching:
    return match(made, lambda: samples)


def captions(found: Matching) -> dict[str, str]:
    return {key: row.caption for key, row in found.captions.items()}


FOX = Named("a_b_IMG_1-0f", "jpg", "a/b/IMG 1.jpg", ("000042",))


@pytest.mark.parametrize("name", [
    "a_b_IMG_1-0f", "a_b_IMG_1-0f.jpg", "000042", "000042.jpg", "a/b/IMG 1.jpg", "a/b/IMG 1",
    "./a/b/IMG 1.jpg", "a\\b\\IMG 1.jpg", "/data/photos/a/b/IMG 1.jpg", "photos/a/b/IMG 1",
    "IMG 1.jpg", "b/IMG 1", "https://e.org/a/b/IMG 1.jpg?size=2", "out/images/a_b_IMG_1-0f.jpg",
])  # fmt: skip
def test_a_sample_goes_by_its_key_its_ids_and_its_path(name: str) -> None:
    """Or by an end of its path, or a path of which its own is the end."""
    found = matched(rows((name, "a fox")), FOX, Named("z", "png", "z/IMG 2.jpg"))
    assert captions(found) == {FOX.key: "a fox"}


@pytest.mark.parametrize("name", ["IMG 1.png", "c/IMG 1.jpg", "IMG 2.jpg", "img 1.jpg", "1", ".."])
def test_another_name_is_no_match(name: str) -> None:
    """Another folder, extension or case may be another image."""
    assert matched(rows((name, "a fox")), FOX).unmatched == 1


def test_a_sample_of_the_web_goes_by_its_address_and_by_its_file_name() -> None:
    """With or without what follows the question mark."""
    sample = Named("k", "jpg", "https://e.org/x/1.jpg?sig=a")
    for name in ("https://e.org/x/1.jpg?sig=a", "https://e.org/x/1.jpg", "x/1.jpg"):
        assert matched(rows((name, "a fox")), sample).matched == 1


def test_names_in_another_unicode_form_are_the_same() -> None:
    """macOS takes letters and accents apart."""
    assert matched(rows(("e\u0301.jpg", "a fox")), Named("k", "jpg", "\u00e9.jpg")).matched == 1


def test_a_row_that_names_several_samples_names_none_and_is_shown() -> None:
    """As images of one name in two folders do, or of one stem and two extensions."""
    samples = (Named("k", "jpg", "a/1.jpg"), Named("l", "jpg", "b/1.jpg"),
               Named("m", "png", "b/1.png"))  # fmt: skip
    found = matched(rows(("1.jpg", "x"), ("b/1", "y"), ("a/1.jpg", "z")), *samples)
    assert captions(found) == {"k": "z"}
    assert (found.ambiguous, found.unmatched) == (2, 0)
    assert [row.key for row in found.ambiguous_examples] == ["1.jpg", "b/1"]


def test_the_closest_name_has_precedence() -> None:
    """The row that names a sample less closely is counted as one without a sample."""
    found = matched(rows(("old/1.jpg", "x"), ("1.jpg", "y")), Named("k", "jpg", "1.jpg"))
    assert (captions(found), found.unmatched) == ({"k": "y"}, 1)
    two = (Named("k", "jpg", "1.jpg"), Named("l", "jpg", "b/1.jpg"))
    assert captions(matched(rows(("/d/b/1.jpg", "x")), *two)) == {"l": "x"}


def test_every_row_is_counted_once() -> None:
    """Nothing is dropped silently; at most 20 rows are shown."""
    made = rows(
        ("k", "a fox"), ("k.jpg", "a fox"), ("k", "a fox"), ("l", " "), ("l", ""),
        *((f"no-{n}", "x") for n in range(25)),
    )  # fmt: skip
    found = matched(made, Named("k", "jpg", "k.jpg"), Named("l", "jpg", "l.jpg"))
    assert (found.rows, found.matched, found.empty, found.repeated) == (30, 1, 2, 2)
    assert (found.unmatched, len(found.unmatched_examples)) == (25, 20)
    assert found.rows == found.matched + found.empty + found.repeated + found.unmatched


@pytest.mark.parametrize("other", ["k", "k.jpg"])
def test_two_captions_of_one_image_are_an_error_that_names_both_rows(other: str) -> None:
    """Whether they call it the same or not."""
    given = [("k.png", "x"), ("src", "a fox"), ("src" if other == "k" else "./src", "an owl")]
    with pytest.raises(DataError, match="line 3 and line 4 have different captions"):
        matched(rows(*given), Named("k", "png", "src"))
    with pytest.raises(DataError, match="both name sample k"):
        matched(rows(("i", "a fox"), ("j", "an owl")), Named("k", "png", "s", ("i", "j")))


def test_names_of_the_file_stand_beside_names_of_the_dataset() -> None:
    """So that one sees which column is meant."""
    told = no_match(rows(*((f"r{n}", "x") for n in range(5))), [FOX] * 5)
    assert "'r0', 'r1', 'r2', the dataset has 'a_b_IMG_1-0f' from 'a/b/IMG 1.jpg'" in told


def test_matching_takes_no_longer_where_every_image_has_one_name() -> None:
    """As in a folder for each sample; quadratic time would be minutes here."""
    count = 20_000

    def samples() -> Iterable[Named]:
        return (Named(f"k{n}", "jpg", f"{n:05d}/image.jpg", ("image.jpg",)) for n in range(count))

    found = match(rows(*((f"/d/{n:05d}/image.jpg", f"x{n}") for n in range(count))), samples)
    assert found.matched == count
    assert found.captions["k7"].caption == "x7"
