"""Which backend the settings choose, and what they say when they cannot be right."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from services.platform.embedded import EmbeddedPlatform
from services.training.backends.backend import Command, Defaults, Refused, Resources, resources
from services.training.backends.local import LocalBackend
from services.training.settings import BackendMissing, TrainingSettings
from tests.support.paths import REPOSITORY
from vila2.cli.connection.workspace import CliError, embedded


def test_without_settings_jobs_run_on_this_machine(tmp_path: Path) -> None:
    """And leave with the service."""
    settings = TrainingSettings()
    assert isinstance(settings.backend(tmp_path), LocalBackend)
    assert not settings.jobs_outlive_the_service


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"training_backend": "ray"}, "'local', 'slurm' or 'kubernetes'"),
        ({"training_backend": "kubernetes", "kubernetes_image": "i"}, "VILA2_KUBERNETES_CLAIM"),
        ({"training_backend": "kubernetes", "kubernetes_claim": "c"}, "VILA2_KUBERNETES_IMAGE"),
        ({"training_seconds": 60}, "VILA2_TRAINING_NOTICE"),
        ({"training_processes_per_node": 2}, "VILA2_TRAINING_PROCESSES_PER_NODE"),
    ],
)
def test_settings_that_cannot_be_right_name_the_variable(
    settings: dict[str, object], words: str
) -> None:
    """When they are read."""
    with pytest.raises(ValidationError, match=words):
        TrainingSettings.model_validate(settings)


def test_a_machine_outside_any_cluster_needs_an_address(tmp_path: Path) -> None:
    """Inside a pod it is the service account's."""
    settings = TrainingSettings(
        training_backend="kubernetes", kubernetes_image="i", kubernetes_claim="c"
    )
    with pytest.raises(BackendMissing, match="VILA2_KUBERNETES_URL"):
        settings.backend(tmp_path)


def test_the_command_line_says_which_setting_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is served, and the workspace is free again."""
    monkeypatch.setenv("VILA2_TRAINING_BACKEND", "slurm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with (
        pytest.raises(CliError, match="slurm-client"),
        embedded(tmp_path / "workspace"),
    ):
        pass
    monkeypatch.setenv("VILA2_TRAINING_BACKEND", "local")
    with EmbeddedPlatform(tmp_path / "workspace"):
        pass


@pytest.mark.parametrize(
    ("folder", "backend"), [("slurm", "slurm"), ("k8s/overlays/kubeflow", "kubernetes")]
)
def test_the_settings_that_ship_are_settings(
    folder: str, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every variable is one that is read, and together they are complete."""
    known = {f"VILA2_{name.upper()}" for name in TrainingSettings.model_fields}
    for line in (REPOSITORY / "deploy" / folder / "settings.env").read_text().splitlines():
        name, _, value = line.partition("=")
        assert name in known
        monkeypatch.setenv(name, value.strip('"'))
    assert TrainingSettings().training_backend == backend


def command(processes: int, **fields: object) -> Command:
    return Command("m", Path("/j/spec.json"), Path("/j"), processes, 3, **fields)  # type: ignore[arg-type]


def test_processes_spread_over_nodes() -> None:
    """With CPUs, GPUs and memory for each node's share."""
    defaults = Defaults(processes_per_node=4, accelerator="gpu", memory=100, seconds=900)
    assert resources(command(8), defaults) == Resources(
        nodes=2, processes=4, cpus=12, gpus=4, memory=400, seconds=900, notice=120
    )


def test_a_small_job_takes_no_more_than_it_has_processes() -> None:
    """And what it says itself counts."""
    defaults = Defaults(processes_per_node=4, accelerator="gpu", memory=100)
    asked = resources(command(2, accelerator="cpu", memory=7, seconds=60), defaults)
    assert (asked.nodes, asked.processes, asked.gpus) == (1, 2, 0)
    assert (asked.memory, asked.seconds) == (14, 60)


def test_processes_that_do_not_divide_over_nodes_are_refused() -> None:
    """torchrun has as many on every node."""
    with pytest.raises(Refused, match="multiple of 4"):
        resources(command(6), Defaults(processes_per_node=4))
