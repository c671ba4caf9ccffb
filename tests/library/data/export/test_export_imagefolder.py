"""The export `imagefolder` is what Hugging Face's `datasets` reads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.library.data.export.test_card import GIVEN
from tests.support.datasets.samples import image, sample
from vila2.data.writers import Captioned, dataset_card, export

LOADS = """
import json, socket, sys

def refuse(*_):
    raise OSError("there is no network here")

socket.socket.connect = refuse
import datasets

found = datasets.load_dataset(*json.loads(sys.argv[1]), split="train")
print(json.dumps([{**row, "image": row["image"].size} for row in found]))
"""
CARD = dataset_card(**{**GIVEN, "format": "imagefolder"})


@pytest.mark.parametrize("card", [CARD, "# Card\n"], ids=["card", "no card"])
def test_load_dataset_reads_images_and_captions(tmp_path: Path, card: str) -> None:
    """By its name, or by its card alone."""
    texts = ["a fox", "=1+1", 'said "ü", twice\n', "two"]
    made = [
        Captioned(sample(f"k{n}", image=image(n, size=(20 + n, 12)), caption=f"o{n}"), text, {})
        for n, text in enumerate(texts)
    ]
    export("imagefolder", made, tmp_path / "out", card=card)
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path / "hf")}
    named = (
        [str(tmp_path / "out")] if card is CARD else ["imagefolder", None, str(tmp_path / "out")]
    )
    done = subprocess.run(
        [sys.executable, "-c", LOADS, json.dumps(named)],
        env={**os.environ, **offline}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["image"], row["caption"], row["original"], row["key"]) for row in rows] == [
        ([20 + n, 12], text, f"o{n}", f"k{n}") for n, text in enumerate(texts)
    ]


def test_a_folder_of_it_has_few_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hubs and file systems refuse more than some thousands."""
    monkeypatch.setattr("vila2.data.writers.imagefolder.FOLDER_SAMPLES", 2)
    made = [Captioned(sample(f"k{n}", image=image(n)), "x", {}) for n in range(3)]
    export("imagefolder", made, tmp_path / "out", card="")
    found = sorted(p.relative_to(tmp_path / "out").as_posix() for p in tmp_path.rglob("*.png"))
    assert found == ["train/00000/k0.png", "train/00000/k1.png", "train/00001/k2.png"]
