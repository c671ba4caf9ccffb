"""The execution backend port: start a job, look at it, stop it, and find it again later.

A job's folder is the same path for the dispatcher and for the job. Whatever the backend, the job
writes `log.txt`, `exit.json` with its status and, on failure, perhaps `error.txt` with the reason.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# `running` is also what waits in the backend's own queue.
Phase = Literal["running", "succeeded", "interrupted", "failed"]
Accelerator = Literal["cpu", "gpu"]
INTERRUPTED = 75  # EX_TEMPFAIL: the job has checkpointed and asks to be started again


class BackendUnreachable(RuntimeError):
    """The backend does not answer: the job's state is unknown, so retry later."""


class Refused(ValueError):
    """The backend will never run this; the message names the setting or field and the fix."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run: a Python module with a spec file, as a number of processes.

    `attempt` is how many starts the caller has on record; a job that it started, and that has
    ended, is not started again under the same count. `seconds` and `memory` (MiB a process) are
    the backend's own where they are 0. `folder` is that of `spec`.
    """

    module: str
    spec: Path
    folder: Path
    processes: int
    threads: int
    attempt: int = 0
    accelerator: Literal["", "cpu", "gpu"] = ""
    memory: int = 0
    seconds: int = 0


@dataclass(frozen=True, slots=True)
class Defaults:
    """Resources of a job that does not specify its own.

    `processes_per_node` 0 means all on one node; `seconds` 0 means no time limit. `notice` is how
    many seconds before its limit a job is asked to checkpoint.
    """

    processes_per_node: int = 0
    accelerator: Accelerator = "cpu"
    memory: int = 0
    seconds: int = 0
    notice: int = 120


@dataclass(frozen=True, slots=True)
class Resources:
    """Resources of a job: `processes`, `cpus`, `gpus` and `memory` (MiB) are per node."""

    nodes: int
    processes: int
    cpus: int
    gpus: int
    memory: int
    seconds: int
    notice: int


def resources(command: Command, defaults: Defaults) -> Resources:
    """Spread a job's processes over nodes; raises `Refused` if they do not divide evenly."""
    per_node = min(defaults.processes_per_node or command.processes, command.processes)
    if command.processes % per_node:
        raise Refused(
            f"processes: {command.processes} do not divide over nodes of {per_node}: ask for a "
            f"multiple of {per_node}, or set VILA2_TRAINING_PROCESSES_PER_NODE"
        )
    gpu = (command.accelerator or defaults.accelerator) == "gpu"
    return Resources(
        nodes=command.processes // per_node,
        processes=per_node,
        cpus=command.threads * per_node,
        gpus=per_node if gpu else 0,
        memory=(command.memory or defaults.memory) * per_node,
        seconds=command.seconds or defaults.seconds,
        notice=defaults.notice,
    )


class Backend(ABC):
    """Where jobs run. `handle` is text that finds the job again after a restart."""

    def check(self) -> str:
        """What answers, in words, where jobs could be submitted now; raises `BackendUnreachable`
        or `Refused` if they could not."""
        return "jobs run on this machine"

    @abstractmethod
    def submit(self, key: str, command: Command) -> str:
        """Start the job and return its handle, or that of the start which is there already.

        Of several callers at once, one starts it. A job that the backend refuses counts as failed,
        with the backend's words and the fix in `error.txt`. Raises `BackendUnreachable`.
        """

    @abstractmethod
    def observe(self, handle: str, folder: Path) -> Phase:
        """The job's state; an `interrupted` job may be submitted again and resumes.

        Raises `BackendUnreachable`.
        """

    @abstractmethod
    def stop(self, handle: str, folder: Path, *, wait: float = 20.0) -> None:
        """Ask the job to checkpoint and exit; kill it after `wait` seconds."""

    def close(self) -> None:  # noqa: B027 (most backends hold nothing)
        """Release this process's resources for starting jobs; running jobs are not affected."""
