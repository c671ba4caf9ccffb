"""Where the backends' tests run jobs: this machine, a real Slurm, a small Kubernetes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from services.training.backends.backend import Backend, Command, Phase
from services.training.settings import TrainingSettings
from tests.support.servers.kubernetes import FakeKubernetes
from tests.support.servers.slurm import SlurmCluster
from tests.support.training.scripted_job import started

SCRIPTED_JOB = "tests.support.training.scripted_job"
_SUBMIT = """\
import sys
from pathlib import Path
from services.training.backends.backend import Command
from services.training.settings import TrainingSettings
folder = Path(sys.argv[2])
command = Command(sys.argv[3], folder / "spec.json", folder, 1, 1)
print(TrainingSettings().backend(folder.parent).submit(sys.argv[1], command))
"""


class Site:
    """A backend's settings, and what only an operator can do to its jobs."""

    def __init__(self, name: str, **settings: object) -> None:
        self.name = name
        self.settings = {"training_backend": name, **settings}

    def backend(self, workspace: Path, **more: object) -> Backend:
        """A backend that knows nothing of another's jobs."""
        return TrainingSettings.model_validate({**self.settings, **more}).backend(workspace)

    def variables(self) -> dict[str, str]:
        """The same settings for another process."""
        return {f"VILA2_{name.upper()}": str(value) for name, value in self.settings.items()}

    def limited(self, make: Callable[..., Job]) -> Job:
        """A job with a time limit that is about to end."""
        limited = make(self, "sleep_once", seconds=2)
        limited.submit(self.backend(limited.folder.parent, training_notice=1))
        return limited

    def kill(self, job: Job) -> None:
        """kill -9 to everything of a job."""
        os.killpg(int(job.handle.partition(":")[0]), signal.SIGKILL)

    def hasten(self, job: Job) -> None:
        """Let a requeued job start."""


class SlurmSite(Site):
    """Jobs of a cluster that requeues by itself."""

    def __init__(self, cluster: SlurmCluster, folder: Path) -> None:
        super().__init__("slurm", slurm_partition="train", slurm_poll=0.1)
        self.cluster = cluster
        # Slurm counts in minutes and looks every thirty seconds, so this one starts before the
        # other tests.
        self._limited = Job(self, folder / "job", "sleep_once", key="job-limited", seconds=60)
        self._limited.submit(self.backend(folder, training_notice=55))

    def limited(self, make: Callable[..., Job]) -> Job:
        return self._limited

    def kill(self, job: Job) -> None:
        self.cluster.ask("scancel", "--signal=KILL", "--full", job.handle)

    def hasten(self, job: Job) -> None:
        self.cluster.hasten(job.handle)


class KubernetesSite(Site):
    """TrainJobs; the folder is a volume that every pod has at the same path."""

    def __init__(self, cluster: FakeKubernetes, token: Path) -> None:
        super().__init__(
            "kubernetes",
            kubernetes_url=cluster.url,
            kubernetes_token_file=token,
            kubernetes_namespace="training",
            kubernetes_image="vila2-train:1",
            kubernetes_claim="workspace",
        )
        self.cluster = cluster

    def kill(self, job: Job) -> None:
        self.cluster.kill_pods(job.handle.partition("/")[0])


class Job:
    """One job folder, and the backend that was asked last."""

    def __init__(
        self, site: Site, folder: Path, preset: str, *, key: str, **fields: object
    ) -> None:
        folder.mkdir()
        self.site, self.folder, self.key, self._fields = site, folder, key, fields
        self.write(preset)
        self.backend = site.backend(folder.parent)
        self.handle = ""

    def write(self, preset: str) -> None:
        (self.folder / "spec.json").write_text(json.dumps({"init": {"preset": preset}}))

    def command(self, attempt: int = 0) -> Command:
        fields = {"processes": 1, "threads": 1, "module": SCRIPTED_JOB, **self._fields}
        spec = self.folder / "spec.json"
        return Command(spec=spec, folder=self.folder, attempt=attempt, **fields)  # type: ignore[arg-type]

    def submit(self, backend: Backend | None = None, *, attempt: int = 0) -> str:
        self.backend = backend or self.backend
        self.handle = self.backend.submit(self.key, self.command(attempt))
        return self.handle

    def submit_and_die(self, variables: Mapping[str, str]) -> None:
        """A dispatcher that is killed between the start of its job and the record of it."""
        done = subprocess.run(
            [sys.executable, "-c", _SUBMIT, self.key, str(self.folder), SCRIPTED_JOB],
            env={**os.environ, **variables, "VILA2_CRASHPOINT": "backend.started"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == -signal.SIGKILL, done.stderr

    def submit_at_once(self, count: int) -> set[str]:
        """Several dispatchers; each has a backend of its own."""
        backends = [self.site.backend(self.folder.parent) for _ in range(count)]
        handles: set[str] = set()
        threads = [
            threading.Thread(target=lambda b=b: handles.add(b.submit(self.key, self.command())))  # type: ignore[misc]
            for b in backends
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.handle = next(iter(handles))
        return handles

    def phase(self) -> Phase:
        return self.backend.observe(self.handle, self.folder)

    def ended(self, *, seconds: float = 30) -> Phase:
        def over() -> bool:
            self.site.hasten(self)
            return self.phase() != "running"

        _wait(over, seconds)
        return self.phase()

    def starts(self) -> int:
        return len(started(self.folder))

    def begun(self, *, times: int = 1) -> Job:
        _wait(lambda: self.starts() >= times, 30)
        return self

    def stop(self, *, wait: float = 20.0) -> None:
        self.backend.stop(self.handle, self.folder, wait=wait)

    def log(self) -> str:
        return (self.folder / "log.txt").read_text()


def _wait(condition: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
