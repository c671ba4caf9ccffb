"""Composed models: saved, loaded, and taken apart by name."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer

from tests.support.models.tiny_preset import model
from vila2.engine.captioner import Captioner
from vila2.engine.requests import Request
from vila2.model.build import PARTS, VLM, fresh_projector
from vila2.model.digest import folder_digest
from vila2.model.preset import PresetError, load_preset
from vila2.schemas.sampling import Sampling


def test_a_model_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    made = model()
    made.save(tmp_path / "m")
    loaded = VLM.load(tmp_path / "m")
    for name, tensor in made.model.state_dict().items():
        assert torch.equal(tensor, loaded.model.state_dict()[name]), name


def test_transformers_loads_it_without_code_of_ours(tmp_path: Path) -> None:
    made = model()
    made.save(tmp_path / "m")
    plain = AutoModelForImageTextToText.from_pretrained(tmp_path / "m")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "m")
    ids = torch.tensor([made.chat().prompt("what?")])
    pixels = torch.zeros(1, 3, 32, 32)
    with torch.inference_mode():
        ours = made.model.eval()(input_ids=ids, pixel_values=pixels).logits
        theirs = plain.eval()(input_ids=ids, pixel_values=pixels).logits
    assert torch.equal(ours, theirs)
    assert tokenizer.encode("a red circle") == made.tokenizer.encode("a red circle")


ALONE = """
import json, sys
from PIL import Image
from transformers import pipeline
folder, image = sys.argv[1:]
asked = [{"role": "user", "content": [{"type": "image", "image": Image.open(image)},
                                      {"type": "text", "text": "What is this?"}]}]
ask = pipeline("image-text-to-text", model=folder, device="cpu")
made = ask(text=asked, max_new_tokens=8, do_sample=False, return_full_text=False)
assert not any(name.split(".")[0] in ("vila2", "services") for name in sys.modules)
print(json.dumps(made[0]["generated_text"]))
"""


@pytest.mark.slow
def test_transformers_alone_captions_with_a_saved_model(tmp_path: Path) -> None:
    """In a process that cannot import this project; the caption is the captioner's."""
    made = model(seed=3)
    made.save(tmp_path / "m")
    pixels = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "p.png")
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "m"), str(tmp_path / "p.png")],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    request = Request(pixels, "What is this?", 0, Sampling(max_new_tokens=8))
    (ours,) = Captioner(made).generate([request])
    assert json.loads(done.stdout.splitlines()[-1]).strip() == ours.text


def test_nothing_that_is_saved_needs_unpickling(tmp_path: Path) -> None:
    model().save(tmp_path / "m")
    suffixes = {path.suffix for path in (tmp_path / "m").iterdir()}
    assert not suffixes & {".bin", ".pt", ".pth", ".pkl"}
    assert ".safetensors" in suffixes


def test_the_three_parts_hold_every_parameter_once() -> None:
    made = model()
    parts = sum(p.numel() for part in PARTS for _, p in made.parameters_of(part))
    assert parts == sum(p.numel() for p in made.model.parameters())


def test_a_fresh_projector_leaves_the_other_parts_alone() -> None:
    made, before = model(), model()
    fresh_projector(made, seed=9)
    for part in ("vision", "language"):
        for (name, now), (_, then) in zip(
            made.parameters_of(part), before.parameters_of(part), strict=True
        ):
            assert torch.equal(now, then), name
    now = dict(made.parameters_of("projector"))["projector.linear_1.weight"]
    then = dict(before.parameters_of("projector"))["projector.linear_1.weight"]
    assert not torch.equal(now, then)


def test_a_digest_changes_with_one_weight(tmp_path: Path) -> None:
    made = model()
    made.save(tmp_path / "a")
    with torch.no_grad():
        next(made.model.parameters())[0] += 1e-3
    made.save(tmp_path / "b")
    assert folder_digest(tmp_path / "a") != folder_digest(tmp_path / "b")


def test_an_unknown_preset_names_the_ones_there_are() -> None:
    with pytest.raises(PresetError, match="tiny"):
        load_preset("huge")
