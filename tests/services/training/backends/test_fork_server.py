"""Jobs of one process are forked off a server, which may die, and which nothing outlives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors.torch import load_file

from services.training.backends.backend import Command
from services.training.backends.local import LocalBackend
from tests.support.models.tiny_preset import model
from tests.support.paths import REPOSITORY
from tests.support.training.inputs import source, spec, world
from tests.support.training.scripted_job import started
from tests.support.training.training_service import SCRIPTED_JOB
from tests.support.waiting import until

PLATFORM = """\
import sys, time
from pathlib import Path
from tests.services.training.backends.test_fork_server import Job
job = Job(Path(sys.argv[1]), "sleep")
job.submit()
time.sleep(60)
"""


class Job:
    """One job folder and the backend that runs it."""

    def __init__(self, folder: Path, preset: str, backend: LocalBackend | None = None) -> None:
        folder.mkdir()
        self.folder = folder
        (folder / "spec.json").write_text(json.dumps({"init": {"preset": preset}}))
        self.backend = backend or LocalBackend()
        self.handle = ""

    def submit(self, module: str = SCRIPTED_JOB) -> Job:
        command = Command(module, self.folder / "spec.json", self.folder, 1, 1)
        self.handle = self.backend.submit(self.folder.name, command)
        return self

    def begun(self) -> Job:
        until(lambda: bool(started(self.folder)))
        return self

    def ended(self, *, seconds: float = 20) -> str:
        until(self.over, seconds=seconds)
        return self.backend.observe(self.handle, self.folder)

    def over(self) -> bool:
        return self.backend.observe(self.handle, self.folder) != "running"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalBackend]:
    monkeypatch.chdir(REPOSITORY)
    made = LocalBackend()
    yield made
    made.close()


def children(parent: int) -> dict[int, str]:
    """A process's children, dead ones too, with their command lines."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == parent:
                found[int(entry.name)] = (entry / "cmdline").read_text()
        except OSError:
            continue
    return found


def servers(parent: int) -> list[int]:
    return [pid for pid, line in children(parent).items() if "backends.fork_s" in line]


def server_of(backend: LocalBackend) -> int:
    """The server of this backend; other tests of this process may have left theirs."""
    assert backend._forks is not None
    assert backend._forks._server is not None
    return backend._forks._server.pid


def test_a_job_is_a_fork_that_shows_what_it_runs(backend: LocalBackend, tmp_path: Path) -> None:
    """The server's child is the supervisor, whose child is the job."""
    job = Job(tmp_path / "job", "sleep", backend).submit().begun()
    server = server_of(backend)
    ((supervisor, line),) = children(server).items()
    assert line.rstrip("\0").split("\0")[1:4] == [
        "-m",
        "services.training.backends.supervise",
        str(job.folder),
    ]
    ((worker, line),) = children(supervisor).items()
    assert line.rstrip("\0").split("\0")[1:] == [
        "-m",
        SCRIPTED_JOB,
        "--spec",
        f"{job.folder}/spec.json",
    ]
    assert [worker] == started(job.folder)
    job.backend.stop(job.handle, job.folder)
    assert job.ended() == "interrupted"


def test_a_job_has_its_own_environment_and_its_platforms_folder(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As they are when it is submitted, not as they were when the server was started."""
    Job(tmp_path / "first", "succeed", backend).submit().ended()
    monkeypatch.setenv("SET_LATER", "yes")
    job = Job(tmp_path / "job", "tell_environment", backend).submit()
    assert job.ended() == "succeeded"
    log = (job.folder / "log.txt").read_text()
    assert "SET_LATER=yes" in log
    assert "TORCHELASTIC_RUN_ID=job" in log


def test_a_running_job_does_not_notice_that_the_server_is_killed(
    backend: LocalBackend, tmp_path: Path
) -> None:
    """And the next job gets a new one."""
    job = Job(tmp_path / "job", "sleep_once", backend).submit().begun()
    server = server_of(backend)
    os.kill(server, signal.SIGKILL)
    until(lambda: not Path(f"/proc/{server}/exe").exists())
    assert not job.over()
    after = Job(tmp_path / "after", "succeed", backend).submit()
    assert after.ended() == "succeeded"
    assert server not in servers(os.getpid())
    backend.stop(job.handle, job.folder)
    assert job.ended() == "interrupted"
    assert job.submit().ended() == "succeeded"


def test_a_server_that_dies_while_it_starts_a_job_starts_it_at_most_once(
    backend: LocalBackend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while it imports: the job then has an interpreter of its own."""
    job = Job(tmp_path / "job", "succeed", backend).submit(
        "tests.support.training.job_dying_on_import"
    )
    assert job.ended() == "succeeded"
    assert len(started(job.folder)) == 1
    assert backend._forks is not None
    assert backend._forks._server is None


def test_a_module_that_cannot_be_imported_fails_its_job_alone(
    backend: LocalBackend, tmp_path: Path
) -> None:
    """The job's log says why; the server forks on."""
    broken = Job(tmp_path / "broken", "succeed", backend).submit("tests.no_such_module")
    assert broken.ended() == "failed"
    assert "tests.no_such_module" in (broken.folder / "log.txt").read_text()
    assert Job(tmp_path / "job", "succeed", backend).submit().ended() == "succeeded"


def test_a_closed_backend_leaves_no_process_but_its_running_jobs(tmp_path: Path) -> None:
    """No server, and no zombie of one or of a job that ended."""
    before = children(os.getpid())
    backend = LocalBackend()
    Job(tmp_path / "ended", "succeed", backend).submit().ended()
    job = Job(tmp_path / "job", "sleep", backend).submit().begun()
    backend.close()
    assert children(os.getpid()).keys() <= before.keys()
    assert not job.over()
    backend.stop(job.handle, job.folder)


def test_a_killed_platform_takes_the_server_along_and_leaves_the_job(
    backend: LocalBackend, tmp_path: Path
) -> None:
    """Which the next platform adopts by its key."""
    folder = tmp_path / "job"
    platform = subprocess.Popen([sys.executable, "-c", PLATFORM, str(folder)], cwd=REPOSITORY)
    until(lambda: bool(started(folder)))
    (server,) = servers(platform.pid)
    platform.kill()
    platform.wait()
    # It may still be importing.
    until(lambda: not Path(f"/proc/{server}/exe").exists(), seconds=90)
    adopted = Job.__new__(Job)
    adopted.folder, adopted.backend = folder, backend
    assert not adopted.submit().over()
    assert len(started(folder)) == 1
    backend.stop(adopted.handle, folder)


def test_a_job_waits_for_nothing_that_a_forked_one_holds(
    backend: LocalBackend, tmp_path: Path
) -> None:
    """The worker has let go of its supervisor's lock: with both dead, another start may begin."""
    job = Job(tmp_path / "job", "deaf", backend).submit().begun()
    os.killpg(int(job.handle.partition(":")[0]), signal.SIGKILL)
    assert job.ended() == "interrupted"
    (job.folder / "spec.json").write_text(json.dumps({"init": {"preset": "succeed"}}))
    assert job.submit().ended() == "succeeded"


@pytest.mark.slow
def test_a_forked_training_has_the_weights_of_one_with_its_own_interpreter(
    backend: LocalBackend, tmp_path: Path
) -> None:
    """Bit for bit; importing a trainer starts no thread that would forbid the fork."""
    shards = world(tmp_path)
    model().save(tmp_path / "base")
    made = []
    for name in ("forked", "fresh"):
        job = Job(tmp_path / name, "", backend)
        wanted = spec(tmp_path / "base", job.folder, [source(shards["sft"])], steps=2)
        (job.folder / "spec.json").write_text(wanted.model_dump_json())
        if name == "forked":
            job.submit("vila2.training.train")
            assert children(server_of(backend))
            assert job.ended(seconds=120) == "succeeded"
        else:
            subprocess.run(
                [sys.executable, "-m", "vila2.training.train", "--spec", job.folder / "spec.json"],
                check=True, capture_output=True,
            )  # fmt: skip
        made.append(load_file(job.folder / "model" / "model.safetensors"))
    assert made[0].keys() == made[1].keys()
    assert all(made[0][name].equal(made[1][name]) for name in made[0])
