"""`vila2 datasets submit`: what a path is taken for, and one source as several datasets."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.support.datasets.samples import image, tar_of
from tests.support.embedded_platform import images
from vila2.cli.main import app

RUN = CliRunner(env={"COLUMNS": "200"})


def submit(tmp_path: Path, *arguments: str) -> tuple[int, str, str]:
    """Exit status, what was printed, and what was said of an error."""
    done = RUN.invoke(app, ["datasets", "submit", *arguments, "-w", str(tmp_path / "w")])
    return done.exit_code, done.output, str(done.exception or "")


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(images(tmp_path / "photos", count=6))


def test_three_datasets_are_made_and_counted(tmp_path: Path, folder: str) -> None:
    """The rest first; then all together."""
    Path(folder, "bad.png").write_bytes(b"x")
    Path(folder, "bad.txt").write_text("x")
    given = (folder, "--name", "photos", "--split", "sft=2,test=1")
    status, shown, _ = submit(tmp_path, *given)
    assert status == 0
    for words in ("photos@1 ready: 3 samples in 1 shard, 1 quarantined", "photos-sft@1",
                  "photos-test@1 ready: 1 sample in 1 shard, 0 quarantined, 0 repeated captions",
                  "in all 6 admitted and 1 quarantined"):  # fmt: skip
        assert words in shown
    held = json.loads(submit(tmp_path, *given, "--json")[1])
    assert [(each["dataset"], each["version"]) for each in held] == [
        ("photos", 1), ("photos-sft", 1), ("photos-test", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(("more", "words"), [
    (("--split", "sft=5,test=1"), "there are 6 images"),
    (("--split", "sft=many"), "is not NAME=NUMBER"),
    (("--split", "sft=1", "--by-store"), "without --by-store"),
    (("--split-seed", "3"), "--split-seed is for splits to make"),
    (("--split", "train", "--split", "test"), "submit each as its own dataset"),
    (("--format", "imagenet"), "unknown format 'imagenet'"),
    (("--split", "sft=1", "--format", "benchmark"), "a benchmark is not divided"),
])  # fmt: skip
def test_what_cannot_be_done_says_why(
    tmp_path: Path, folder: str, more: tuple[str, ...], words: str
) -> None:
    status, _, error = submit(tmp_path, folder, "--name", "photos", *more)
    assert status != 0
    assert words in error


def test_tars_in_place_are_not_divided(tmp_path: Path) -> None:
    _, _, error = submit(tmp_path, "s3://lab/x", "--split", "sft=1")
    assert "would read them" in error


def test_a_tar_needs_no_format(tmp_path: Path) -> None:
    """It is said what it was taken for, and numbers of one are in the singular."""
    path = tmp_path / "web.tar"
    tar_of(("a.png", image(0)), ("a.txt", b"a fox"), path=path)
    status, shown, _ = submit(tmp_path, str(path))
    assert status == 0
    assert "read as webdataset: web.tar is a tar. --format chooses another" in shown
    assert "web@1 ready: 1 sample in 1 shard" in shown


def test_a_folder_of_hugging_face_needs_no_format_but_a_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        folder = tmp_path / "hf" / split
        folder.mkdir(parents=True)
        (folder / "a.png").write_bytes(image(len(split)))
        (folder / "metadata.csv").write_text(f"file_name,text\na.png,{split}\n")
    _, shown, error = submit(tmp_path, str(tmp_path / "hf"))
    assert "read as imagefolder: it has test/metadata.csv" in shown
    assert "Choose one with --split" in error
    assert submit(tmp_path, str(tmp_path / "hf"), "--split", "train")[0] == 0
