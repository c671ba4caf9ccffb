"""The formats that other trainers read from files beside the images: `vila` and `txt`."""

from __future__ import annotations

import json
import tarfile

import pytest

from tests.library.data.export.test_export import captioned, read_back, records, written
from tests.support.datasets.samples import image
from vila2.data.errors import DataError
from vila2.data.writers import txt as txt_writer


def addressed(number: int, source: str):
    return captioned(f"k{number}", f"a fox, {number}", image=image(number), source=source)


def test_each_tar_has_a_table_of_its_captions_by_address(tmp_path):
    """An image that came from no web address goes by its name in the tar."""
    sources = ["https://e.org/Ü.png", "HTTP://e.org/b", "folder/b.png", ""]
    made = [addressed(number, source) for number, source in enumerate(sources)]
    out = written("vila", tmp_path / "out", *made, shard_size=3)
    assert sorted(path.name for path in out.glob("0*")) == [
        "000000.tar", "000000.tar.json", "000001.tar", "000001.tar.json",
    ]  # fmt: skip
    assert json.loads((out / "000000.tar.json").read_text()) == {
        "https://e.org/Ü.png": {"output": "a fox, 0"},
        "HTTP://e.org/b": {"output": "a fox, 1"},
        "k2.png": {"output": "a fox, 2"},
    }
    assert json.loads((out / "000001.tar.json").read_text()) == {"k3.png": {"output": "a fox, 3"}}


def test_a_sample_in_the_tar_says_its_address_and_its_provenance(tmp_path):
    """VILA takes `url` from `key.json` and looks the caption up under it."""
    out = written("vila", tmp_path / "out", addressed(0, "https://e.org/a"), addressed(1, "b"))
    with tarfile.open(out / "000000.tar") as tar:
        held = [json.loads(tar.extractfile(f"k{n}.json").read()) for n in range(2)]
    table = json.loads((out / "000000.tar.json").read_text())
    assert [table[about["url"]]["output"] for about in held] == ["a fox, 0", "a fox, 1"]
    assert held == records("vila", out)


def test_an_address_that_two_samples_of_a_tar_share_is_refused(tmp_path):
    """One of the captions would be lost; in different tars both are kept."""
    made = [addressed(number, "https://e.org/a") for number in range(2)]
    with pytest.raises(DataError, match=r"k0 and k1 of 000000.tar .* shard size") as error:
        written("vila", tmp_path / "out", *made)
    assert error.value.field == "source"
    assert list(tmp_path.iterdir()) == []
    assert len(read_back("vila", written("vila", tmp_path / "out", *made, shard_size=1))) == 2


def test_text_files_lie_beside_images_in_folders_of_bounded_size(tmp_path, monkeypatch):
    """And hold the caption and nothing else."""
    monkeypatch.setattr(txt_writer, "FOLDER_SAMPLES", 2)
    out = written("txt", tmp_path / "out", *(addressed(number, "") for number in range(3)))
    assert sorted(str(path.relative_to(out)) for path in out.glob("*/*")) == [
        "00000/k0.png", "00000/k0.txt", "00000/k1.png", "00000/k1.txt",
        "00001/k2.png", "00001/k2.txt",
    ]  # fmt: skip
    assert (out / "00001" / "k2.txt").read_bytes() == b"a fox, 2"


def test_the_record_of_a_text_export_finds_its_image(tmp_path, monkeypatch):
    """By the path from the export's root."""
    monkeypatch.setattr(txt_writer, "FOLDER_SAMPLES", 2)
    made = [addressed(number, "") for number in range(3)]
    out = written("txt", tmp_path / "out", *made)
    found = [(out / record["image"]).read_bytes() for record in records("txt", out)]
    assert found == [held.sample.image for held in made]
