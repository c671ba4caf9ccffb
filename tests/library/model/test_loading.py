"""A checkpoint is loaded whole or refused, by the directory, the file and the keys."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.models.foreign_models import KINDS
from tests.support.models.tiny_preset import model
from vila2.model.build import VLM
from vila2.model.external_models import ForeignModelError
from vila2.model.weight_files import CheckpointError

WEIGHTS = "model.safetensors"
# A model that we composed, one that existed already, and one whose output layer is tied.
FAMILIES: dict[str, Callable[[Path], object]] = {
    "composed": lambda folder: model().save(folder),
    "llava-siglip": KINDS["llava-siglip"],
    "smolvlm": KINDS["smolvlm"],
}


@pytest.fixture(scope="module", params=list(FAMILIES))
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("saved") / request.param
    FAMILIES[request.param](folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "model"))


def changed(folder: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> Path:
    """The folder with other weights."""
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    return folder


def renamed(weights: dict[str, torch.Tensor]) -> None:
    for name in list(weights):
        weights[f"_orig_mod.{name}"] = weights.pop(name)


def a_matrix(weights: dict[str, torch.Tensor]) -> str:
    return next(name for name in weights if "language" in name or "text_model" in name)


def test_a_whole_checkpoint_loads(folder: Path) -> None:
    assert all(bool(p.isfinite().all()) for p in VLM.load(folder).model.parameters())


def test_weights_under_the_names_of_a_wrapper_are_refused(folder: Path) -> None:
    """torch.compile saves `_orig_mod.*`; transformers would go on with random weights."""
    with pytest.raises(CheckpointError, match=r"model\.safetensors.* lacks .*_orig_mod\."):
        VLM.load(changed(folder, renamed))


def test_one_missing_weight_is_refused_by_name(folder: Path) -> None:
    name = a_matrix(load_file(folder / WEIGHTS))
    with pytest.raises(CheckpointError) as refused:
        VLM.load(changed(folder, lambda weights: weights.pop(name)))
    assert str(folder) in str(refused.value)
    assert name.rpartition(".")[0].rpartition(".")[2] in str(refused.value)


def test_a_weight_of_another_shape_is_refused(folder: Path) -> None:
    def cut(weights: dict[str, torch.Tensor]) -> None:
        name = a_matrix(weights)
        weights[name] = weights[name][:-1].clone()

    with pytest.raises(CheckpointError, match="shape"):
        VLM.load(changed(folder, cut))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_a_weight_that_is_not_finite_is_refused(folder: Path, value: float) -> None:
    def break_one(weights: dict[str, torch.Tensor]) -> None:
        weights[a_matrix(weights)].view(-1)[0] = value

    with pytest.raises(CheckpointError, match="not finite"):
        VLM.load(changed(folder, break_one))


def test_a_cut_file_is_named(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=r"model\.safetensors is damaged or cut"):
        VLM.load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_a_cut_configuration_is_named(folder: Path, name: str) -> None:
    text = (folder / name).read_text()
    (folder / name).write_text(text[: len(text) // 2])
    with pytest.raises(CheckpointError, match=rf"{name} is damaged or cut"):
        VLM.load(folder)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_missing_configuration_is_named(folder: Path, name: str) -> None:
    """A library would take its own default for it."""
    (folder / name).unlink()
    with pytest.raises((CheckpointError, ForeignModelError), match=name):
        VLM.load(folder)


def test_a_git_lfs_pointer_is_recognised(folder: Path) -> None:
    (folder / WEIGHTS).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\n")
    with pytest.raises(CheckpointError, match="git lfs pull"):
        VLM.load(folder)


def test_a_shard_that_the_index_names_and_nobody_copied_is_named(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "model-00001-of-00002.safetensors")
    names = load_file(folder / "model-00001-of-00002.safetensors")
    index = dict.fromkeys(names, "model-00001-of-00002.safetensors")
    index[next(iter(names))] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    with pytest.raises(CheckpointError, match=r"model-00002-of-00002\.safetensors is missing"):
        VLM.load(folder)


def test_a_directory_without_safetensors_is_refused(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors"):
        VLM.load(folder)
