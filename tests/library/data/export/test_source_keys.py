"""Exports keep the keys of the source: its ids, paths and addresses."""

from __future__ import annotations

import csv
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.library.data.export.test_export import read_back, records, written
from tests.support.datasets.samples import image, tar_of
from vila2.data.admission import Admission
from vila2.data.readers import open_reader
from vila2.data.sample import Sample
from vila2.data.shards import read_shard, write_shard
from vila2.data.writers import FORMATS, Captioned

PATHS = ["coco/train 2017/ÜMG  1.png", "gqa/b.c.png", "a.png"]
IDS = ["000000033471", "gqa/7 ü", "z"]


def llava_folder(folder: Path) -> Path:
    """Three images whose ids are in no order; the first is in two rows with an id each."""
    rows = []
    for number, (path, name) in enumerate(zip(PATHS, IDS, strict=True)):
        target = folder / "images" / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(image(number))
        told = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": path}]
        rows.append({"id": name, "image": path, "conversations": told})
    rows.append({**rows[0], "id": "again"})
    (folder / "conversations.json").write_text(json.dumps(rows))
    return folder


def admitted(format: str, path: Path) -> list[Sample]:
    admission = Admission()
    found = list(admission.through(open_reader(format, path).read()))
    assert not admission.rejected
    return found


def exported(format: str, out: Path, samples: list[Sample]) -> Path:
    return written(format, out, *(Captioned(made, f"a {made.key}", {}) for made in samples))


@pytest.mark.parametrize("format", FORMATS)
def test_every_writer_keeps_the_ids_the_paths_and_the_order_of_the_source(
    tmp_path: Path, format: str
) -> None:
    """Beside the key, which is made for file names; all ids of an image that has several."""
    out = exported(format, tmp_path / "out", admitted("llava", llava_folder(tmp_path / "in")))
    found = records(format, out)
    assert [record["source"] for record in found] == PATHS
    assert [record["source_ids"] for record in found] == [[IDS[0], "again"], [IDS[1]], [IDS[2]]]


def test_conversations_go_out_under_the_ids_that_they_came_in_with(tmp_path: Path) -> None:
    """In their order, so that a file beside them which names the ids still fits."""
    samples = admitted("llava", llava_folder(tmp_path / "in"))
    out = exported("llava", tmp_path / "out", samples)
    rows = json.loads((out / "conversations.json").read_text())
    assert [row["id"] for row in rows] == IDS
    again = read_back("llava", out)
    assert [made.source_id for made in again] == IDS


def test_the_table_of_a_folder_has_the_source_and_its_id(tmp_path: Path) -> None:
    """Spreadsheets show them beside the caption."""
    out = exported("folder", tmp_path / "out", admitted("llava", llava_folder(tmp_path / "in")))
    with (out / "captions.csv").open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [(row["source_id"], row["source"]) for row in rows] == [*zip(IDS, PATHS, strict=True)]


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_ids_survive_an_export_that_is_submitted_again(tmp_path: Path, format: str) -> None:
    """So do web addresses."""
    addresses = pa.array([f"https://e.org/{number}.png?sig=" + "x" * 600 for number in range(2)])
    pq.write_table(
        pa.table(
            {"id": ["x/1", "x/2"], "url": addresses, "text": ["a", "b"],
             "image": [image(0), image(1)]}
        ),
        tmp_path / "in.parquet",
    )  # fmt: skip
    samples = admitted("parquet", tmp_path / "in.parquet")
    again = read_back(format, exported(format, tmp_path / "out", samples))
    assert [made.source_id for made in again] == ["x/1", "x/2"]
    assert [made.source for made in again] == addresses.to_pylist()


def test_the_table_of_vila_goes_by_the_whole_address(tmp_path: Path) -> None:
    """However long a signed address is."""
    address = "https://e.org/a.png?signature=" + "x" * 600
    tar_of(("a.png", image(0)), ("a.json", json.dumps({"caption": "a", "url": address}).encode()),
           path=tmp_path / "0.tar")  # fmt: skip
    out = exported("vila", tmp_path / "out", admitted("webdataset", tmp_path / "0.tar"))
    assert list(json.loads((out / "000000.tar.json").read_text())) == [address]


def test_the_name_that_hugging_face_keeps_of_an_image_is_kept(tmp_path: Path) -> None:
    """It is often the only name that the image has."""
    images = [{"bytes": image(number), "path": f"IMG {number}.png"} for number in range(2)]
    pq.write_table(pa.table({"image": images, "text": ["a", "b"]}), tmp_path / "in.parquet")
    out = exported("txt", tmp_path / "out", admitted("parquet", tmp_path / "in.parquet"))
    found = [record["source_ids"] for record in records("txt", out)]
    assert found == [["IMG 0.png"], ["IMG 1.png"]]


def test_a_stem_that_is_no_key_is_kept_beside_the_key(tmp_path: Path) -> None:
    """A tar's members may lie in folders; in its own words the key is that path."""
    tar_of(("d e/a.png", image(0)), ("d e/a.txt", b"x"), path=tmp_path / "0.tar")
    (made,) = admitted("webdataset", tmp_path / "0.tar")
    assert (made.source_ids, made.source) == (("d e/a",), "0.tar/d e/a.png")
    out = exported("webdataset", tmp_path / "out", [made])
    with tarfile.open(out / "00000.tar") as tar:
        about = json.loads(tar.extractfile(f"{made.key}.json").read())
    assert about["source_ids"] == ["d e/a"]


def test_a_shard_keeps_ids_and_one_without_ids_is_written_as_before(tmp_path: Path) -> None:
    """Shards are named by their bytes: those of data without ids do not change."""
    samples = admitted("llava", llava_folder(tmp_path / "in"))
    with (tmp_path / "shard.tar").open("wb") as out:
        write_shard(samples, out)
    assert list(read_shard(tmp_path / "shard.tar")) == samples
    tar_of(("k.png", image(0)), ("k.txt", b"x"), path=tmp_path / "0.tar")
    with (tmp_path / "plain.tar").open("wb") as out:
        write_shard(admitted("webdataset", tmp_path / "0.tar"), out)
    assert b"source_ids" not in (tmp_path / "plain.tar").read_bytes()
