"""What only Slurm has: its script, its queue, its nodes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from services.platform.embedded import EmbeddedPlatform
from services.training.backends.backend import BackendUnreachable, Command, Defaults, resources
from services.training.backends.slurm import SlurmBackend
from services.training.backends.slurm_script import SlurmOptions, batch_script
from services.training.jobs import dispatcher
from services.training.settings import BackendMissing, TrainingSettings
from tests.services.training.conftest import Submit
from tests.support.models.tiny_preset import model
from tests.support.training.backend_sites import SCRIPTED_JOB, Job, SlurmSite
from tests.support.training.inputs import source, spec, world
from tests.support.training.scripted_job import started
from tests.support.waiting import until
from vila2.schemas.rest.training import JobIn, TrainIn
from vila2.schemas.train_spec import TrainSpec

GOLDEN = Path(__file__).parent / "golden"
_SITE = SlurmOptions(
    python="/opt/vila2/bin/python",
    partition="train",
    account="vision",
    qos="long",
    constraint="a100&ib",
    setup="module load cuda\nexport NCCL_DEBUG=WARN",
)


def script(name: str) -> str:
    folder = Path("/data/jobs/50% done/job-1")
    if name == "nodes":
        command = Command("vila2.training.train", folder / "spec.json", folder, 8, 6)
        defaults = Defaults(
            processes_per_node=4, accelerator="gpu", memory=64000, seconds=14430, notice=300
        )
        return batch_script("job-1", command, resources(command, defaults), _SITE)
    command = Command("vila2.training.train", folder / "spec.json", folder, 1, 2)
    options = SlurmOptions(python="/usr/bin/python3")
    return batch_script("job-1", command, resources(command, Defaults()), options)


@pytest.mark.parametrize("name", ["nodes", "process"])
def test_the_batch_script_is_the_golden_one(name: str) -> None:
    """Whoever changes it reads it: it is a program that runs unattended."""
    assert script(name) == (GOLDEN / f"slurm_{name}.sbatch").read_text()


@pytest.mark.parametrize("name", ["nodes", "process"])
def test_bash_reads_the_script(name: str) -> None:
    """Without an error in its syntax."""
    done = subprocess.run(["bash", "-n"], input=script(name), text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_job_keeps_none_of_the_platforms_secrets(
    slurm_site: SlurmSite, job: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """sbatch takes its caller's environment along."""
    monkeypatch.setenv("VILA2_S3_SECRET_KEY", "hush")
    done = job(slurm_site, "tell_environment")
    done.submit()
    assert done.ended() == "succeeded"
    assert "SLURM_JOB_ID" in done.log()
    assert "hush" not in done.log()


def test_settings_without_slurms_commands_say_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """At the start, not at the first job."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackendMissing, match="slurm-client"):
        TrainingSettings(training_backend="slurm").backend(tmp_path)


def test_a_controller_that_is_gone_decides_nothing(
    slurm_site: SlurmSite, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job is neither lost nor failed because nobody answers."""
    text = slurm_site.cluster.conf.read_text()
    elsewhere = tmp_path / "slurm.conf"
    lines = [line for line in text.splitlines() if not line.startswith("SlurmctldPort")]
    elsewhere.write_text("\n".join([*lines, "SlurmctldPort=9", "MessageTimeout=1\n"]))
    monkeypatch.setenv("SLURM_CONF", str(elsewhere))
    backend = SlurmBackend(SlurmOptions(python="python"), Defaults())
    with pytest.raises(BackendUnreachable, match=r"(?i)unable to contact|connect|timed out"):
        backend.observe("1", tmp_path)


def test_jobs_outlive_a_platform_that_stops_and_are_taken_up_by_the_next(
    slurm_site: SlurmSite, tmp_path: Path, job: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the API, through the dispatcher: submitted, adopted, cancelled."""
    job(slurm_site, "succeed")  # sets the path by which jobs find the tests' module
    monkeypatch.setitem(dispatcher._MODULES, "train", SCRIPTED_JOB)
    settings = TrainingSettings.model_validate(slurm_site.settings)
    body = JobIn(name="s", train=TrainIn(init="new", preset="sleep"))
    folder = tmp_path / "workspace" / "training" / "jobs"
    with EmbeddedPlatform(tmp_path / "workspace", training=settings) as platform:
        made = platform.client.training.submit(body).id
        until(lambda: len(started(folder / made)) == 1)
        until(lambda: platform.client.training.job(made).state == "running")
    with EmbeddedPlatform(tmp_path / "workspace", training=settings) as platform:
        assert platform.client.training.job(made).state == "running"
        assert "RUNNING" in slurm_site.cluster.ask("squeue", "-h", "--name", made, "-o", "%T")
        platform.client.training.cancel(made)
        until(lambda: slurm_site.cluster.ask("squeue", "-h", "--name", made) == "")
        assert platform.client.training.job(made).state == "cancelled"
    assert len(started(folder / made)) == 1


class Training(Job):
    """A real training of two nodes with a process each."""

    def __init__(self, site: SlurmSite, job: TrainSpec, *, key: str) -> None:
        folder = Path(job.output)
        super().__init__(site, folder, "", key=key, module="vila2.training.train", processes=2)
        (folder / "spec.json").write_text(job.model_dump_json())
        self.backend = site.backend(folder.parent, training_processes_per_node=1)

    def step(self) -> int:
        """The last step of the second stage that a checkpoint has."""
        steps = [0]
        for path in (self.folder / "checkpoints").glob("*/manifest.json"):
            try:
                told = json.loads(path.read_text())
            except (OSError, ValueError):
                continue
            steps.append(told["step"] if told["stage"] == 1 else 0)
        return max(steps)

    def until_step(self, step: int) -> None:
        end = time.monotonic() + 200
        while self.step() < step:
            assert self.phase() == "running", self.log()
            assert time.monotonic() < end, self.log()
            time.sleep(0.02)

    def weights(self) -> dict[str, torch.Tensor]:
        return load_file(self.folder / "model" / "model.safetensors")


@pytest.mark.full
def test_a_training_on_two_nodes_that_is_requeued_twice_ends_as_if_undisturbed(
    slurm_site: SlurmSite, tmp_path: Path
) -> None:
    """By an operator, and by the signal that comes before the time limit: bit for bit."""
    shards = world(tmp_path)
    model().save(tmp_path / "base")
    sources = [source(shards["sft"])]
    whole = Training(
        slurm_site, spec(tmp_path / "base", tmp_path / "whole", sources, steps=80), key="whole"
    )
    broken_spec = spec(tmp_path / "base", tmp_path / "broken", sources, steps=80)
    broken = Training(
        slurm_site, broken_spec.model_copy(update={"checkpoint_seconds": 0.01}), key="broken"
    )
    broken.submit()
    broken.until_step(2)
    slurm_site.cluster.ask("scontrol", "requeue", broken.handle)
    _started_again(slurm_site, broken, 1)
    broken.until_step(broken.step() + 2)  # beyond what it saved as it was taken away
    slurm_site.cluster.ask("scancel", "--batch", "--signal=USR1", broken.handle)
    _started_again(slurm_site, broken, 2)
    assert broken.ended(seconds=200) == "succeeded", broken.log()
    whole.submit()  # alone: two trainings would share this machine's cores
    assert whole.ended(seconds=200) == "succeeded", whole.log()
    told = slurm_site.cluster.ask("scontrol", "show", "job", "-o", broken.handle)
    assert "NumNodes=2" in told
    assert broken.log().count("resuming at stage 1") == 2
    for name, tensor in whole.weights().items():
        assert torch.equal(tensor, broken.weights()[name]), name


def _started_again(site: SlurmSite, job: Training, restarts: int) -> None:
    """Wait until Slurm runs a requeued job, and let it skip the two minutes."""
    end = time.monotonic() + 200
    while True:
        told = site.cluster.ask("scontrol", "show", "job", "-o", job.handle)
        if f"Restarts={restarts}" in told and "JobState=RUNNING" in told:
            return
        assert job.phase() == "running"
        assert time.monotonic() < end, told
        site.hasten(job)
        time.sleep(0.1)
