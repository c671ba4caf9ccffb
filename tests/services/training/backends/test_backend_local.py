from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.training.backends.backend import Command
from services.training.backends.folder import Started, write_started
from services.training.backends.local import LocalBackend
from tests.support.paths import REPOSITORY
from tests.support.training.scripted_job import started
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `python -m tests...` finds the job."""
    monkeypatch.chdir(REPOSITORY)


class Run:
    """One job folder and the backend that runs it."""

    def __init__(self, folder: Path, preset: str, processes: int) -> None:
        folder.mkdir()
        self.folder, self.processes = folder, processes
        self.spec = folder / "spec.json"
        self.spec.write_text(json.dumps({"init": {"preset": preset}}))
        self.backend = LocalBackend()
        self.handle = self.submit(self.backend)
        self.pid = int(self.handle.partition(":")[0])

    def submit(self, backend: LocalBackend, *, attempt: int = 0) -> str:
        module = "tests.support.training.scripted_job"
        command = Command(module, self.spec, self.folder, self.processes, 1, attempt)
        return backend.submit("job-1", command)

    def phase(self) -> str:
        return self.backend.observe(self.handle, self.folder)

    def ended(self) -> str:
        until(lambda: self.phase() != "running")
        return self.phase()

    def begun(self) -> Run:
        until(lambda: "job begins" in (self.folder / "log.txt").read_text())
        return self


class Runs:
    """Starts jobs, and ends those that a test leaves."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.made: list[Run] = []

    def __call__(self, preset: str, *, processes: int = 1) -> Run:
        self.made.append(Run(self._folder / f"job-{len(self.made)}", preset, processes))
        return self.made[-1]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Runs]:
    runs = Runs(tmp_path)
    yield runs
    for made in runs.made:
        made.backend.stop(made.handle, made.folder, wait=0.0)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_job_whose_supervisor_is_killed_does_not_run_on(run: Runs) -> None:
    """It would train in the same folder as the one that is started in its place."""
    job = run("sleep").begun()
    (worker,) = started(job.folder)
    os.kill(job.pid, signal.SIGKILL)
    assert job.ended() == "interrupted"
    until(lambda: not alive(worker))


@pytest.mark.slow
def test_no_worker_of_torchrun_outlives_its_killed_session(run: Runs) -> None:
    """torchrun gives each worker a session of its own, which the signal does not reach."""
    job = run("sleep", processes=2)
    until(lambda: len(started(job.folder)) == 2, seconds=60)
    os.killpg(job.pid, signal.SIGKILL)
    assert job.ended() == "interrupted"
    until(lambda: not any(alive(pid) for pid in started(job.folder)))


def test_another_process_under_the_same_number_is_not_the_job(run: Runs) -> None:
    """A process id is given out again; the start time tells."""
    job = run("succeed")
    job.ended()
    (job.folder / "exit.json").unlink()
    write_started(job.folder, Started(f"{os.getpid()}:1", 0))
    assert LocalBackend().observe(f"{os.getpid()}:1", job.folder) == "interrupted"
    again = job.submit(job.backend)
    assert again != f"{os.getpid()}:1"
    until(lambda: job.backend.observe(again, job.folder) == "succeeded")


def test_the_last_status_does_not_count_for_the_next_start(run: Runs) -> None:
    """Status and words of an earlier attempt are gone."""
    job = run("fail")
    job.ended()
    job.spec.write_text(json.dumps({"init": {"preset": "sleep"}}))
    job.handle = job.submit(job.backend, attempt=1)
    assert job.phase() == "running"
    assert not (job.folder / "error.txt").exists()


def test_what_does_not_leave_is_made_to_with_all_its_children(run: Runs) -> None:
    """After the wait nothing of the session is left."""
    job = run("deaf")
    log = job.folder / "log.txt"
    until(lambda: "child" in log.read_text())
    child = int(log.read_text().partition("child ")[2].split()[0])
    job.backend.stop(job.handle, job.folder, wait=0.3)
    until(lambda: not any(alive(pid) for pid in (job.pid, child, *started(job.folder))))


def test_a_worker_that_is_killed_alone_interrupts_its_job(run: Runs) -> None:
    """As by the kernel, for memory: the job did nothing wrong that it could tell."""
    job = run("sleep").begun()
    os.kill(started(job.folder)[0], signal.SIGKILL)
    assert job.ended() == "interrupted"


def test_a_pod_or_a_node_can_supervise_with_python_alone() -> None:
    """Where jobs run there is no web framework and no database."""
    alone = (
        f"import sys; sys.path = [{str(REPOSITORY)!r}, *sys.path]; "
        "import services.training.backends.supervise"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", alone], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_worker_that_aborts_after_its_work_has_succeeded(run: Runs) -> None:
    """Its result is there and whole; what a library does on the way out changes nothing."""
    assert run("abort_at_the_end").ended() == "succeeded"
