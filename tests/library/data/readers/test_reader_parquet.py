"""Parquet files, Hugging Face folders and img2dataset's output."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.datasets.samples import image, tar_of
from vila2.data.errors import DataError
from vila2.data.readers import ReadOptions, open_reader
from vila2.data.readers.files.splits import split_of
from vila2.data.sample import RawSample


def written(path: Path, rows: list[dict[str, Any]], **how: Any) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, **how)
    return path


def read(path: Path, format: str = "parquet", **options: Any) -> list[RawSample]:
    return list(open_reader(format, path, ReadOptions(**options)).read())


def row(n: int = 0, **fields: Any) -> dict[str, Any]:
    return {"image": image(n), "caption": f"fox {n}", **fields}


@pytest.mark.parametrize("given", [image(0), {"bytes": image(0), "path": "a.png"}])
def test_an_image_is_bytes_or_hugging_faces_struct(tmp_path, given):
    """As other tools write it, or as the Image feature does."""
    (made,) = read(written(tmp_path / "a.parquet", [row(image=given)]))
    assert (made.image, made.caption, made.problem) == (image(0), "fox 0", None)


def test_the_files_of_a_folder_are_read_in_order_and_keys_do_not_collide(tmp_path):
    """The row of a file names a sample where no column does."""
    for name in ("b", "a"):
        written(tmp_path / f"{name}.parquet", [row(n) for n in range(2)])
    held = read(tmp_path)
    assert [raw.source for raw in held] == [
        "a.parquet row 0", "a.parquet row 1", "b.parquet row 0", "b.parquet row 1",
    ]  # fmt: skip
    assert len({raw.key for raw in held}) == 4


def test_what_datasets_saved_is_read_without_its_cache(tmp_path):
    """`save_to_disk` writes Arrow streams, and `map` leaves caches beside them."""
    from datasets import Dataset, Features, Image, Value

    rows = {"image": [{"bytes": image(n), "path": None} for n in range(3)], "text": list("abc")}
    features = Features({"image": Image(), "text": Value("string")})
    Dataset.from_dict(rows, features=features).save_to_disk(tmp_path / "saved")
    (arrow,) = (tmp_path / "saved").glob("*.arrow")
    (tmp_path / "saved" / "cache-123.arrow").write_bytes(arrow.read_bytes())
    held = read(tmp_path / "saved")
    assert [(raw.image, raw.caption) for raw in held] == [
        (image(n), text) for n, text in enumerate("abc")
    ]


def test_columns_can_be_named(tmp_path):
    """Where a file has several that could be meant."""
    path = written(tmp_path / "a.parquet", [row(small=image(9), note="a note")])
    (made,) = read(path, image_field="small", caption_field="note")
    assert (made.image, made.caption) == (image(9), "a note")


def test_all_texts_of_a_row_are_kept(tmp_path):
    """As of a table of captions."""
    (held,) = read(written(tmp_path / "a.parquet", [row(caption=["one", "two", "three"])]))
    assert (held.caption, held.more_captions) == ("one", ("two", "three"))


def test_conversations_are_read_as_the_export_writes_them(tmp_path):
    """A column `turns` of questions and answers."""
    turns = [{"question": "Who?", "answer": "a fox"}]
    (made,) = read(written(tmp_path / "a.parquet", [row(turns=turns)]))
    assert [(turn.question, turn.answer) for turn in made.turns] == [("Who?", "a fox")]


def test_a_row_without_its_image_is_a_problem_of_that_row(tmp_path):
    """A dataset that was saved with paths alone says how to save it."""
    rows = [row(), row(1, image=None)]
    held = read(written(tmp_path / "a.parquet", rows))
    assert [raw.problem is None for raw in held] == [True, False]
    assert held[1].problem.startswith("image-missing: ")


@pytest.mark.parametrize(
    ("rows", "field", "fix"),
    [
        ([{"url": "http://x", "caption": "a"}], "image", "format urls"),
        ([{"image": 7, "caption": "a"}], "image", "--image-field"),
        ([{"image": b"x", "caption": 7}], "caption", "--caption-field"),
        ([{"image": b"x"}], "caption", "--captionless"),
        ([{"image": [b"x"], "caption": "a"}], "image", "--image-field"),
    ],
)
def test_a_schema_that_does_not_fit_is_refused_with_what_to_do(tmp_path, rows, field, fix):
    """Before a row is read."""
    with pytest.raises(DataError) as caught:
        read(written(tmp_path / "a.parquet", rows))
    assert caught.value.field == field
    assert fix in caught.value.fix


def test_a_schema_of_a_million_columns_is_refused(tmp_path):
    """It would cost memory for each, and holds nothing."""
    table = pa.table({f"c{n}": pa.array([1]) for n in range(10_001)})
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="10,001 columns"):
        read(tmp_path / "a.parquet")


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    """Which one is meant cannot be told."""
    table = pa.Table.from_arrays([pa.array([b"x"]), pa.array([b"y"])], names=["image", "image"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="twice"):
        read(tmp_path / "a.parquet")


def test_a_pickled_extension_type_is_not_unpickled(tmp_path):
    """Metadata that names a Python class is left alone: the column is what it is stored as."""
    field = pa.field(
        "image",
        pa.binary(),
        metadata={
            b"ARROW:extension:name": b"arrow.py_extension_type",
            b"ARROW:extension:metadata": b"cos\nsystem\n(S'touch "
            + str(tmp_path).encode()
            + b"/owned'\ntR.",
        },
    )
    table = pa.Table.from_arrays(
        [pa.array([image(0)]), pa.array(["a"])],
        schema=pa.schema([field, pa.field("caption", pa.string())]),
    )
    pq.write_table(table, tmp_path / "a.parquet")
    (made,) = read(tmp_path / "a.parquet")
    assert made.image == image(0)
    assert not (tmp_path / "owned").exists()


def test_a_damaged_file_costs_its_own_rows_and_no_others(tmp_path):
    """What cannot be read is one problem that says how far it got."""
    written(tmp_path / "a.parquet", [row(n) for n in range(40)], row_group_size=10)
    written(tmp_path / "b.parquet", [row(50)])
    data = bytearray((tmp_path / "a.parquet").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 400] = b"\xff" * 400
    (tmp_path / "a.parquet").write_bytes(bytes(data))
    held = read(tmp_path)
    problems = [raw.problem for raw in held if raw.problem]
    assert len(problems) <= 1
    assert held[-1].image == image(50)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300), at=st.floats(0, 1))
def test_no_file_breaks_the_reader(tmp_path, data, at):
    """Whatever bytes are written over a good file: samples, problems or a `DataError`."""
    path = written(tmp_path / "a.parquet", [row(n) for n in range(3)])
    good = path.read_bytes()
    start = int(at * len(good))
    path.write_bytes(good[:start] + data + good[start + len(data) :])
    with contextlib.suppress(DataError):
        for raw in read(path):
            assert raw.problem or raw.image is not None


def test_metadata_that_ends_the_process_of_its_reader_is_an_error(tmp_path):
    """Asked for this file's column metadata, Arrow 26 aborts; so nothing asks for it."""
    hostile = Path(__file__).parent / "hostile" / "size-statistics.parquet"
    (made,) = read(hostile)
    assert made.problem.startswith("file-damaged: ")


def img2dataset(path: Path, *, layout: str) -> Path:
    """Three images that came, one that did not, as img2dataset lays them out."""
    path.mkdir()
    about = [{"key": f"{n:09d}", "url": f"https://example.org/{n}.png", "caption": f"fox {n}",
              "status": "success" if n < 3 else "failed_to_download",
              "error_message": None if n < 3 else "HTTP Error 404: Not Found"}
             for n in range(4)]  # fmt: skip
    if layout == "parquet":
        rows = [{**row, "jpg": image(n) if n < 3 else None} for n, row in enumerate(about)]
        written(path / "00000.parquet", rows)
        return path
    written(path / "00000.parquet", about)
    (path / "00000_stats.json").write_text("{}")
    members = [
        (f"{n:09d}.{extension}", data)
        for n in range(3)
        for extension, data in (
            ("png", image(n)),
            ("txt", about[n]["caption"].encode()),
            ("json", json.dumps(about[n]).encode()),
        )
    ]
    if layout == "tars":
        (path / "00000.tar").write_bytes(tar_of(*members))
    else:
        (path / "00000").mkdir()
        for name, data in members:
            (path / "00000" / name).write_bytes(data)
    return path


@pytest.mark.parametrize("layout", ["tars", "files", "parquet"])
def test_img2datasets_output_is_read_with_what_it_could_not_download(tmp_path, layout):
    """The address is the source, and the counts add up to the list it was given."""
    held = read(img2dataset(tmp_path / "out", layout=layout), "img2dataset")
    good = [raw for raw in held if raw.problem is None]
    assert [(raw.image, raw.caption) for raw in good] == [(image(n), f"fox {n}") for n in range(3)]
    assert [raw.source for raw in good] == [f"https://example.org/{n}.png" for n in range(3)]
    (failed,) = [raw.problem for raw in held if raw.problem]
    assert failed.startswith("download-failed: HTTP Error 404")


def test_an_image_that_its_table_promises_is_missed(tmp_path):
    """A tar that lost samples on its way is not taken for whole."""
    path = img2dataset(tmp_path / "out", layout="files")
    for file in (path / "00000").glob("000000001.*"):
        file.unlink()
    problems = [raw.problem for raw in read(path, "img2dataset") if raw.problem]
    assert sorted(problem.partition(":")[0] for problem in problems) == [
        "download-failed", "image-missing",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train_sft-00000-of-00001-0123456789abcdef.parquet", "train_sft"),
        ("train/data-00000-of-00001.arrow", "train"),
        ("validation.parquet", "validation"),
        ("my_test_set.parquet", "test"),
        ("dev/0.parquet", "validation"),
        ("part-0.parquet", ""),
        ("latest.parquet", ""),
    ],
)
def test_a_files_name_tells_its_split_as_hugging_face_names_it(name, split):
    assert split_of(name) == split


def test_several_splits_are_not_mixed_without_a_word(tmp_path):
    """One is chosen, or all of them are asked for."""
    for number, split in enumerate(("test", "train", "train")):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        rows = [{"image": image(number), "caption": f"{split} {number}"}]
        pq.write_table(
            pa.Table.from_pylist(rows), folder / f"{split}-{number:05d}-of-00003.parquet"
        )

    def captions(split: str) -> list[str | None]:
        reader = open_reader("parquet", tmp_path, ReadOptions(split=split))
        return [raw.caption for raw in reader.read()]

    with pytest.raises(DataError, match=r"several splits: test \(1 file\), train \(2 files\)"):
        captions("")
    assert captions("train") == ["train 1", "train 2"]
    assert captions("all") == ["test 0", "train 1", "train 2"]
    with pytest.raises(DataError, match="no split 'dev'"):
        captions("dev")


@pytest.mark.parametrize("damage", [b"", b"PAR1 cut"])
def test_a_table_of_img2dataset_that_is_damaged_costs_its_own_shard(tmp_path, damage):
    """A full disk leaves tables of no bytes; the count for the progress bar is then unknown."""
    path = img2dataset(tmp_path / "out", layout="tars")
    (path / "00001.parquet").write_bytes(damage)
    reader = open_reader("img2dataset", path)
    assert reader.count() is None
    problems = [raw.problem.partition(":")[0] for raw in reader.read() if raw.problem]
    assert problems == ["download-failed", "shard-damaged"]


@pytest.mark.parametrize("damage", [b"", b"PAR1 cut"])
def test_a_file_without_a_footer_costs_its_own_rows_and_no_others(tmp_path, damage):
    written(tmp_path / "a.parquet", [{"image": image(0), "caption": "x"}])
    (tmp_path / "b.parquet").write_bytes(damage)
    reader = open_reader("parquet", tmp_path)
    assert reader.count() is None
    assert [(raw.problem or "").partition(":")[0] for raw in reader.read()] == ["", "file-damaged"]
