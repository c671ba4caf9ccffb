"""The README's section on one's own images, command by command, without a server.

A tiny model of the family stands in for the hub's, since tests have no network; with
VILA2_REAL_DATA the images are photographs.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.docs.blocks import blocks_of
from tests.support.embedded_platform import images
from tests.support.paths import REPOSITORY
from tests.support.tiny_families import build

HUB_ID = "HuggingFaceTB/SmolVLM-256M-Instruct"


def commands() -> list[list[str]]:
    """The first block of the section, as it would be typed."""
    block = next(b for b in blocks_of(REPOSITORY / "README.md") if HUB_ID in b.text)
    return [shlex.split(line, comments=True) for line in block.text.splitlines() if line.strip()]


def run(command: list[str], folder: Path) -> str:
    """One command of a user's shell; what it prints."""
    assert command[0] == "vila2"
    done = subprocess.run(
        [sys.executable, "-m", "vila2.cli.main", *command[1:]],
        cwd=folder, capture_output=True, text=True, timeout=300, check=False,
        env={**os.environ, "COLUMNS": "100"},
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    real = os.environ.get("VILA2_REAL_DATA", "")
    photographs = sorted(Path(real).rglob("*.jpg"))[:12] if real else []
    if photographs:
        (tmp_path / "photos").mkdir()
        for path in photographs:
            shutil.copy(path, tmp_path / "photos" / path.name)
    else:
        for text in images(tmp_path / "photos", count=12).glob("*.txt"):
            text.unlink()
    build("SmolVLM", tmp_path / "model")
    return tmp_path


def test_the_commands_of_the_readme_caption_a_folder_of_images(folder: Path) -> None:
    given = commands()
    assert [command[1] for command in given] == [
        "datasets", "models", "captions", "caption", "captions", "export",
    ]  # fmt: skip
    printed = {}
    for command in given:
        typed = [str(folder / "model") if word == HUB_ID else word for word in command]
        printed[" ".join(command[1:3])] = run(typed, folder)
    assert "12 samples" in printed["datasets submit"]
    assert "smolvlm is registered as smolvlm-" in printed["models add"]
    for page in ("preview.html", "captions.html"):
        assert (folder / page).read_text().count("<img") == (8 if page == "preview.html" else 10)
    assert re.search(r"\d+ captioned, \d+ quarantined", printed["caption photos"])
