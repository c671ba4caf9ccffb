"""Engines earn a certificate for the same model, and three planted faults are refused by it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from services.caption.engines.embedded import EmbeddedEngines
from services.caption.engines.engine import Engine, EngineInfo
from services.caption.serving.certificate import certify
from services.caption.serving.examination import examine
from tests.support.caption_engines import png
from tests.support.vllm.models import blocks
from tests.support.vllm.serving import PREFIX, VllmServing
from vila2.data.sample import Sample
from vila2.engine.golden_set import GOLDEN_FILE, GoldenItem, read_golden, write_golden
from vila2.schemas.rest.caption import Certificate

pytestmark = [pytest.mark.server, pytest.mark.full]
VLLM, EMBEDDED = EngineInfo("triton-vllm", "0.32"), EngineInfo("embedded", "5.23")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServing]:
    made = VllmServing(tmp_path_factory.mktemp("certified"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def items(serving: VllmServing) -> list[GoldenItem]:
    """What the trainer writes beside the weights."""
    samples = [
        Sample(f"p{n}", png(pixels), "png", f"{n:064x}", 32, 32, "a fox")
        for n, pixels in enumerate(blocks(8, 32))
    ]
    write_golden(serving.model, samples)
    return read_golden((serving.model / GOLDEN_FILE).read_bytes())


def certificate(engine: Engine, items: list[GoldenItem], info: EngineInfo) -> Certificate:
    return certify(items, examine(engine, items), info)


def test_vllm_and_the_embedded_engine_earn_it(
    serving: VllmServing, items: list[GoldenItem]
) -> None:
    embedded = EmbeddedEngines(lambda _: serving.model).get(PREFIX)
    for engine, info in ((serving.engine, VLLM), (embedded, EMBEDDED)):
        given = certificate(engine, items, info)
        assert given.reason == ""
        assert [check.passed for check in given.checks] == [True] * 7, given


def normalised_otherwise(model: Path) -> None:
    """ImageNet's mean, in place of the preset's."""
    for name in ("preprocessor_config.json", "processor_config.json"):
        held = json.loads((model / name).read_text())
        held.get("image_processor", held)["image_mean"] = [0.485, 0.456, 0.9]
        (model / name).write_text(json.dumps(held))


def not_a_number(model: Path) -> None:
    weights = load_file(model / "model.safetensors")
    norm = next(name for name in weights if "language_model" in name and "norm" in name)
    weights[norm][0] = np.nan
    save_file(weights, model / "model.safetensors", metadata={"format": "pt"})


def doubled_first_token(model: Path) -> None:
    """As a server does that tokenizes a rendered prompt with a tokenizer which adds `<s>`."""
    code = model.parent / "model.py"
    text = code.read_text()
    wrong = "self.chat.tokenizer.bos_token_id, *self.chat.prompt(question)"
    assert text.count("shows(self.chat.prompt(question), image") == 1
    code.write_text(
        text.replace("shows(self.chat.prompt(question), image", f"shows([{wrong}], image")
    )


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        (normalised_otherwise, "golden answers match"),
        (doubled_first_token, "a token is doubled"),
        (not_a_number, "not a finite number"),
    ],
)
def test_a_planted_fault_is_refused(
    serving: VllmServing, items: list[GoldenItem], plant: Callable[[Path], None], words: str
) -> None:
    """In what Triton reads, as a server's fault would be: the registered files are as they were."""
    prefix = f"models/m-{plant.__name__.replace('_', '-')}"
    served = serving.published(prefix, plant)
    given = certificate(served, items, VLLM)
    assert given.reason != ""
    assert words in given.reason
