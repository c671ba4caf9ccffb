"""How much of a device vLLM is given."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.models.tiny_preset import model
from tests.support.paths import REPOSITORY
from vila2.model.plan import meta_model, shapes
from vila2.model.preset import load_preset
from vila2.triton.vllm_sizes import (
    VLLM_VERSION,
    Device,
    DoesNotFit,
    Sizes,
    cache_bytes,
    engine_arguments,
    engine_bytes,
)

GIB = 2**30
# Of 8 billion weights, stored in float32.
LARGE = Sizes(weights=32 * GIB, stored_bytes=4, kv_token=2 * 32 * 8 * 128, positions=8192)


def test_the_cache_has_room_for_the_rows_that_are_wanted() -> None:
    """64 rows of 4,096 tokens at 128 KiB a token."""
    assert cache_bytes(LARGE, Device("cuda", 80 * GIB), rows=64, gpus=1) == 32 * GIB


def test_a_small_device_gives_the_cache_what_the_weights_leave() -> None:
    assert cache_bytes(LARGE, Device("cuda", 40 * GIB), rows=64, gpus=1) == 20 * GIB


def test_gpus_share_weights_and_cache() -> None:
    assert cache_bytes(LARGE, Device("cuda", 80 * GIB), rows=64, gpus=4) == 8 * GIB


def test_a_model_that_does_not_fit_says_by_how_much() -> None:
    with pytest.raises(DoesNotFit, match=r"16\.0 GiB .* 12\.0 GiB are free .*VILA2_TRITON_GPUS"):
        cache_bytes(LARGE, Device("cuda", 12 * GIB), rows=64, gpus=1)


def test_prompts_are_no_longer_than_the_models_positions(tmp_path: Path) -> None:
    vlm = model()
    vlm.save(tmp_path)
    options = {"batch_size": 8, "gpus": 0, "instances": 1}
    made = engine_arguments(tmp_path, options, Device("cpu", 4 * GIB))
    assert made["max_model_len"] == vlm.model.config.text_config.max_position_embeddings
    assert (made["dtype"], made["tensor_parallel_size"]) == ("float32", 1)


def test_every_place_that_installs_vllm_names_the_tested_version() -> None:
    files = ("deploy/vllm/requirements.txt", "deploy/vllm/install.sh", "deploy/Dockerfile")
    for name in files:
        text = (REPOSITORY / name).read_text()
        assert set(re.findall(r"vllm(?:-cpu)?==([\d.]+)", text)) == {VLLM_VERSION}, name


def test_the_table_for_operators_is_what_is_computed() -> None:
    """And each model's memory is within what the table says to set."""
    page = (REPOSITORY / "docs" / "operations.md").read_text()
    row = r"^\| `(vila2-\w+)` \| (\d+) \| (\S+) GiB \| (\S+) GiB \| (\d+) \| (\d+) \|$"
    rows = re.findall(row, page, re.MULTILINE)
    assert [name for name, *_ in rows] == ["vila2-2b", "vila2-8b", "vila2-40b"]
    for name, gpus, weights, cache, given, memory in rows:
        preset = load_preset(name)
        made = shapes(meta_model(preset), preset)
        language = made.parts["language"]
        parameters = sum(part.parameters for part in made.parts.values())
        sizes = Sizes(4 * parameters, 4, 2 * language.layers * language.key_value, 4096)
        total = engine_bytes(sizes, gpu=True, rows=64)
        assert f"{2 * parameters / GIB:.1f}" == weights
        assert f"{total / GIB - 2 * parameters / GIB:.1f}" == cache
        assert total <= int(memory) * 2**20
        assert gpus == given
        assert total / int(gpus) < 72 * GIB
