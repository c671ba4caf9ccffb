"""The recipe hash of captions: every ingredient counts, and nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from services.caption.engines.engine import EngineInfo
from services.caption.jobs import recipe_hash as module
from services.caption.jobs.recipe_hash import image_size_of, recipe_hash
from services.chassis.storage.objects_directory import DirectoryObjects
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.sampling import Gate, Sampling

ENGINE = EngineInfo("embedded", "transformers 5.23, torch 2.9")


def hashed(engine: EngineInfo = ENGINE, image_size: int = 384, **fields: Any) -> str:
    given: dict[str, Any] = {"name": "n", "dataset": "d", "model": "m-1", "prompts": ["a", "b"]}
    return recipe_hash(CaptionJobIn(**given | fields), engine, image_size=image_size)


@pytest.mark.parametrize("change", [
    {"model": "m-2"}, {"prompts": ["b", "a"]}, {"sampling": Sampling(temperature=0.3)},
    {"gate": Gate(attempts=2)}, {"gate": Gate(min_consistency=0.0)}, {"seed": 6}, {"task": "ocr"},
    {"system": "be brief"},
    {"mode": "keep", "base_layer": "layer-1"}, {"mode": "append", "base_layer": "layer-1"},
])  # fmt: skip
def test_whatever_a_job_asks_for_changes_the_hash(change: dict[str, Any]) -> None:
    assert hashed(**change) != hashed()


def test_the_base_layer_changes_the_hash() -> None:
    assert hashed(mode="keep", base_layer="one") != hashed(mode="keep", base_layer="two")


def test_the_size_of_the_images_changes_the_hash() -> None:
    assert hashed(image_size=448) != hashed()


@pytest.mark.parametrize("constant", ["DECODE_VERSION", "DECODED_MODE", "CAPTION_CODE_VERSION"])
def test_the_code_changes_the_hash(monkeypatch: pytest.MonkeyPatch, constant: str) -> None:
    before = hashed()
    monkeypatch.setattr(module, constant, 99)
    assert hashed() != before


@pytest.mark.parametrize("engine", [
    EngineInfo("triton-python", ENGINE.version), EngineInfo(ENGINE.kind, "transformers 5.24"),
])  # fmt: skip
def test_the_engine_changes_the_hash(engine: EngineInfo) -> None:
    assert hashed(engine) != hashed()


@pytest.mark.parametrize("change", [{"score": True}, {"name": "x"}, {"run": "r"}, {"budget": 1.0}])
def test_what_changes_no_caption_leaves_the_hash(change: dict[str, Any]) -> None:
    assert hashed(**change) == hashed()


def test_the_order_of_a_jobs_keys_leaves_the_hash() -> None:
    one = {"sampling": {"temperature": 0.5, "top_p": 0.9}, "gate": {"min_words": 3}}
    other = {"gate": {"min_words": 3}, "sampling": {"top_p": 0.9, "temperature": 0.5}}
    assert hashed(**one) == hashed(**other)


def test_the_size_is_read_from_the_models_preset(tmp_path: Path) -> None:
    objects = DirectoryObjects(tmp_path)
    objects.put("models/m/vila2_preset.json", b'{"name": "m", "image_size": 224}')
    assert (image_size_of(objects, "models/m"), image_size_of(objects, "models/n")) == (224, 0)
