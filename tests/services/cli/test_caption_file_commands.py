"""Captions that a person has: imported by command, and written beside the images."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from services.platform.embedded import EmbeddedPlatform
from tests.services.cli.test_dataset_commands import error, told
from tests.support.embedded_platform import images, submitted


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """Four foxes of the folder `foxes`."""
    with EmbeddedPlatform(tmp_path / "workspace") as platform:
        submitted(platform.client, images(tmp_path / "foxes"), name="foxes")
    return tmp_path / "workspace"


def table(tmp_path: Path, text: str) -> str:
    path = tmp_path / "hand.csv"
    path.write_text(text)
    return str(path)


def test_an_import_tells_the_layer_the_counts_and_the_next_command(
    workspace: Path, tmp_path: Path
) -> None:
    """And the next command works."""
    path = table(tmp_path, "image,caption\np0.png,a red fox\np1.png,\nzebra.png,x\n")
    shown = told(workspace, "captions", "import", "foxes", path)
    for words in ("hand: captions for 1 sample of foxes@1", "3 samples without a caption: "
                  "not-in-import", "3 rows: 1 matched", "1 row without a caption",
                  "1 row without a matching sample", "line 4: zebra.png"):  # fmt: skip
        assert words in shown
    command = shown.split("`")[1].split()
    assert command[:3] == ["vila2", "captions", "show"]
    assert "a red fox" in told(workspace, *command[1:])
    assert "imported:hand.csv" in told(workspace, "captions", "list")


def test_an_import_names_columns_and_prints_json(workspace: Path, tmp_path: Path) -> None:
    """What REST answers."""
    path = table(tmp_path, "n,image,caption,better\n1,p0.png,old,new\n")
    base = ("captions", "import", "foxes@1", path, "--name", "good")
    shown = told(workspace, *base, "--key-column", "image", "--caption-column", "better", "--json")
    found = json.loads(shown)
    assert (found["layer"]["name"], found["matched"]) == ("good", 1)
    assert "has no column none" in error(workspace, *base, "--key-column", "none")


def test_captions_are_written_beside_the_images(workspace: Path, tmp_path: Path) -> None:
    """What is kept, replaced, left out and without a caption is told."""
    foxes = tmp_path / "foxes"
    path = table(tmp_path, "image,caption\np0.png,a red fox\np1.png,a big fox\np2.png,fox 2\n")
    told(workspace, "captions", "import", "foxes", path)
    (foxes / "p0.txt").unlink()
    base = ("export", "foxes", str(foxes), "--format", "sidecars", "--layer", "hand")
    shown = told(workspace, *base)
    for words in ("1 caption written", "1 were there already", "--overwrite replaces them",
                  "p1.txt", "1 image of the folder without a caption", "p3.png",
                  "1 left out: not-in-import"):  # fmt: skip
        assert words in shown
    assert (foxes / "p0.txt").read_text() == "a red fox"
    assert "1 replaced another text" in told(workspace, *base, "--overwrite")
    assert (foxes / "p1.txt.bak").read_text() == "fox 1"
    assert json.loads(told(workspace, *base, "--json"))["summary"]["unchanged"] == 3


def test_overwriting_is_for_texts_beside_images_alone(workspace: Path, tmp_path: Path) -> None:
    """Other exports never mix with other files; they work as before."""
    out = str(tmp_path / "out")
    base = ("export", "foxes", out, "--text", "original", "--format", "txt")
    assert "--overwrite is for" in error(workspace, *base, "--overwrite")
    assert "4 samples in" in told(workspace, *base)
    wrong = ("export", "foxes", str(tmp_path / "none"), "--text", "original")
    assert "is not a folder" in error(workspace, *wrong, "--format", "sidecars")
