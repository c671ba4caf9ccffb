"""The trainer resumes exactly, trains the parts it is told to, and stops when it should."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from services.training.backends.backend import Command
from services.training.backends.folder import status
from services.training.backends.local import LocalBackend
from tests.support.models.tiny_preset import model
from tests.support.training.inputs import source, spec, world
from tests.support.waiting import until
from vila2.schemas.stages import Lora, Optimizer
from vila2.schemas.train_spec import TrainSpec


class Trainers:
    """Trains by the local backend, so that torch is imported once for all tests."""

    def __init__(self) -> None:
        self.backend = LocalBackend()
        self._starts = 0

    def start(self, job: TrainSpec, *, processes: int = 1) -> str:
        """The handle of a training that runs now."""
        folder = Path(job.output)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "spec.json"
        path.write_text(job.model_dump_json())
        self._starts += 1
        wanted = Command("vila2.training.train", path, folder, processes, 1, self._starts)
        return self.backend.submit(folder.name, wanted)

    def status(self, job: TrainSpec, handle: str) -> int | None:
        """How a training ended; `None` where it could not say."""
        folder = Path(job.output)
        until(lambda: self.backend.observe(handle, folder) != "running", seconds=300)
        return status(folder)

    def __call__(self, job: TrainSpec, *, processes: int = 1) -> int | None:
        return self.status(job, self.start(job, processes=processes))


@pytest.fixture(scope="module")
def train() -> Iterator[Trainers]:
    trainers = Trainers()
    yield trainers
    trainers.backend.close()


def send(handle: str, number: int) -> None:
    """Signal a training and its supervisor."""
    os.killpg(int(handle.partition(":")[0]), number)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "model"
    model().save(folder)
    return folder


def weights(job: TrainSpec) -> dict[str, torch.Tensor]:
    return load_file(Path(job.output) / "model" / "model.safetensors")


@pytest.mark.slow
def test_a_killed_job_goes_on_bit_for_bit(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    """kill -9 in the middle, start again: the model equals the undisturbed one, bit for bit."""
    sources = [source(shards["sft"])]
    whole = spec(base, tmp_path / "whole", sources, steps=100)
    assert train(whole) == 0
    broken = spec(base, tmp_path / "broken", sources, steps=100).model_copy(
        update={"checkpoint_seconds": 0.01}
    )
    handle = train.start(broken)
    manifests = tmp_path / "broken" / "checkpoints"

    def in_the_middle() -> bool:
        found = [json.loads(p.read_text()) for p in manifests.glob("*/manifest.json")]
        return any(entry["stage"] == 1 and entry["step"] > 5 for entry in found)

    until(in_the_middle, seconds=120)
    send(handle, signal.SIGKILL)
    assert train.status(broken, handle) is None
    assert not (tmp_path / "broken" / "result.json").exists()
    assert train(broken) == 0
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(broken)[name]), name


@pytest.mark.slow
def test_two_processes_train_the_same_model_as_one(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    """The same batches over two processes give the same weights but for rounding."""
    sources = [source(shards["corpus"], "corpus", policy="original")]
    one = spec(base, tmp_path / "one", sources, steps=3)
    two = spec(base, tmp_path / "two", sources, steps=3)
    assert train(one) == 0
    assert train(two, processes=2) == 0
    for name, tensor in weights(one).items():
        assert torch.allclose(tensor, weights(two)[name], atol=5e-3), name


@pytest.mark.slow
def test_alignment_moves_the_projector_alone(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    job = spec(base, tmp_path / "align", [source(shards["sft"])])
    job = job.model_copy(update={"stages": job.stages[:1]})
    assert train(job) == 0
    before = load_file(base / "model.safetensors")
    changed = {n for n, tensor in weights(job).items() if not torch.equal(tensor, before[n])}
    assert changed
    assert all("multi_modal_projector" in name for name in changed)


@pytest.mark.slow
def test_a_diverged_job_says_what_to_change(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    job = spec(base, tmp_path / "nan", [source(shards["sft"])])
    hot = [stage.model_copy(update={"lr": 1e30}) for stage in job.stages]
    assert train(job.model_copy(update={"stages": hot})) == 1
    assert "lower `lr`" in (tmp_path / "nan" / "error.txt").read_text()


@pytest.mark.slow
def test_sigterm_checkpoints_and_asks_to_be_run_again(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    job = spec(base, tmp_path / "term", [source(shards["sft"])], steps=5000)
    handle = train.start(job)
    until((tmp_path / "term" / "metrics.jsonl").exists, seconds=120)
    send(handle, signal.SIGTERM)
    assert train.status(job, handle) == 75
    assert list((tmp_path / "term" / "checkpoints").glob("*/manifest.json"))


def packed(job: TrainSpec, **fields: object) -> TrainSpec:
    """The job with all stages packed."""
    stages = [stage.model_copy(update={"pack": 200, **fields}) for stage in job.stages]
    return job.model_copy(update={"stages": stages})


@pytest.mark.full
def test_a_packed_job_with_a_token_budget_goes_on_bit_for_bit(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    """Interrupted by SIGTERM: a step's first visit depends on all before it."""
    sources = [source(shards["sft"])]
    whole = packed(spec(base, tmp_path / "whole", sources, steps=40), batch_tokens=500)
    assert train(whole) == 0
    broken = packed(spec(base, tmp_path / "broken", sources, steps=40), batch_tokens=500)
    handle = train.start(broken)
    history = tmp_path / "broken" / "metrics.jsonl"
    until(lambda: history.exists() and "sft" in history.read_text(), seconds=120)
    send(handle, signal.SIGTERM)
    assert train.status(broken, handle) == 75
    assert train(broken) == 0
    for name, tensor in weights(whole).items():
        assert torch.equal(tensor, weights(broken)[name]), name
    done = [json.loads((tmp_path / n / "result.json").read_text()) for n in ("whole", "broken")]
    assert done[0]["stages"]["sft"]["visits"] == done[1]["stages"]["sft"]["visits"] > 40


@pytest.mark.slow
def test_shards_of_a_model_on_two_processes_train_what_one_trains(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    """FSDP2, packed, with its stages' freeze masks and a checkpoint in the middle."""
    sources = [source(shards["corpus"], "corpus", policy="original")]
    adamw = {"optimizer": Optimizer(), "lr": 1e-3}
    one = packed(spec(base, tmp_path / "one", sources, steps=3), **adamw)
    two = packed(spec(base, tmp_path / "two", sources, steps=3), **adamw)
    two = two.model_copy(update={"parallel": "fsdp", "checkpoint_seconds": 0.01})
    assert train(one) == 0
    assert train(two, processes=2) == 0
    before = load_file(base / "model.safetensors")
    moved = max(float((tensor - before[n]).abs().max()) for n, tensor in weights(one).items())
    apart = max(float((tensor - weights(two)[n]).abs().max()) for n, tensor in weights(one).items())
    assert apart < 0.02 * moved


@pytest.mark.slow
def test_adapters_are_merged_into_a_plain_model(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    """Only the language part's matrices change, by a matrix of low rank; the rest is as it was."""
    pytest.importorskip("peft")
    job = spec(base, tmp_path / "lora", [source(shards["sft"])])
    stage = job.stages[1].model_copy(update={"trainable": ["language"], "lora": Lora(rank=2)})
    assert train(job.model_copy(update={"stages": [stage]})) == 0
    after, before = weights(job), load_file(base / "model.safetensors")
    assert set(after) == set(before)
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    # The projector is a fresh one, as in every training from a base.
    assert [n for n in changed if "layers" not in n and "projector" not in n] == []
    assert [n for n in changed if "vision" in n] == []
    name = next(name for name in changed if "q_proj" in name)
    assert torch.linalg.matrix_rank(after[name] - before[name], atol=1e-4) <= 2


@pytest.mark.slow
def test_a_stage_ends_when_it_is_asked_to(
    tmp_path: Path, shards: dict[str, str], base: Path, train: Trainers
) -> None:
    """The next stage follows, and the result says why."""
    job = spec(base, tmp_path / "ended", [source(shards["sft"])], steps=5)
    long = job.stages[0].model_copy(update={"steps": 5000})
    job = job.model_copy(update={"stages": [long, job.stages[1]], "tensorboard": True})
    Path(job.output).mkdir()
    asked = {"stage": "align", "reason": "the loss no longer falls"}
    (tmp_path / "ended" / "stop_stage.json").write_text(json.dumps(asked))
    assert train(job) == 0
    stages = json.loads((tmp_path / "ended" / "result.json").read_text())["stages"]
    assert stages["align"]["stopped_early"] == "the loss no longer falls"
    assert "stopped_early" not in stages["sft"]
    last = json.loads((tmp_path / "ended" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["stage"] == "sft"
    assert last["tokens_per_second"] > 0
    assert 0 < last["mfu"] < 1
    assert list((tmp_path / "ended" / "tensorboard").iterdir())
