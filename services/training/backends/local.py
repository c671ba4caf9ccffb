"""Jobs as supervised processes of this machine, found again by process id and start time."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

from services.chassis.crashpoint import crashpoint
from services.training.backends import supervise
from services.training.backends.backend import Backend, BackendUnreachable, Command, Defaults, Phase
from services.training.backends.folder import (
    REFUSED,
    STARTED,
    clear,
    ended_phase,
    is_settled,
    read_started,
    refuse,
    status,
)
from services.training.backends.fork_server import ForkLost, ForkServer
from services.training.backends.process_table import end_leftovers
from vila2.system.processes import handle_of, start_time

# By default glibc gives every large buffer back to the system, and a training step on a CPU then
# spends an eighth of its time on faulting the same pages in again.
_KEEP_MEMORY = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),  # the most that it takes
    "MALLOC_TRIM_THRESHOLD_": str(2**30),
}


class LocalBackend(Backend):
    """Starts each job in a session of its own, so that it outlives a crash of the dispatcher.

    The supervisor inherits the lock under which it was started and keeps it as long as it lives, so
    a second one can never be started, whichever process dies. A job of one
    process on a CPU is forked off a server that has imported what it needs; any other, and
    if there is no such server, is a fresh interpreter.
    """

    def __init__(self, defaults: Defaults | None = None) -> None:
        self._defaults = defaults or Defaults()
        self._children: dict[int, subprocess.Popen[bytes]] = {}
        # On macOS the system's own libraries do not survive a fork.
        self._forks = ForkServer() if sys.platform == "linux" else None

    def submit(self, key: str, command: Command) -> str:
        """Start a supervisor, unless one of this folder is running already."""
        if self._defaults.accelerator != "gpu" and command.accelerator == "gpu":
            return refuse(
                command.folder,
                command.attempt,
                "accelerator: this machine's jobs run on the CPU: leave it empty, or set "
                "VILA2_TRAINING_ACCELERATOR=gpu where there is a GPU",
            )
        deadline = time.monotonic() + 20
        forks = self._forks if self._may_fork(command) else None
        while time.monotonic() < deadline:
            lock = _try_lock(command.folder / "running.lock")
            if lock is not None:
                try:
                    return self._start(key, command, lock, forks)
                except ForkLost:
                    forks = None  # if it did start the job, the lock is held
                    deadline = time.monotonic() + 20
                finally:
                    os.close(lock)  # the supervisor holds it now
            held = read_started(command.folder)
            if held is not None and self._alive(held.handle):
                return held.handle
            time.sleep(0.02)  # another process is starting it, or it is ending
        raise BackendUnreachable(f"somebody holds {command.folder} and runs no job there")

    def _may_fork(self, command: Command) -> bool:
        wanted = command.accelerator or self._defaults.accelerator
        return command.processes == 1 and wanted == "cpu"

    def _start(self, key: str, command: Command, lock: int, forks: ForkServer | None) -> str:
        held = read_started(command.folder)
        if held is not None:
            phase = self.observe(held.handle, command.folder)
            if is_settled(held, command.attempt, phase):
                return held.handle
        end_leftovers(command.folder)
        clear(command.folder)
        (command.folder / STARTED).unlink(missing_ok=True)
        environment = {
            **_KEEP_MEMORY,
            **os.environ,
            "OMP_NUM_THREADS": str(command.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            # A job must not come to another's rendezvous.
            "TORCHELASTIC_RUN_ID": key,
        }
        arguments, pid = self._arguments(command), None
        with (command.folder / "log.txt").open("ab") as log:
            if forks is not None:
                pid = forks.start(
                    arguments, environment, module=command.module, log=log.fileno(), lock=lock
                )
            if pid is None:
                child = subprocess.Popen(
                    [sys.executable, "-m", supervise.__name__, *arguments],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                    env=environment,
                    pass_fds=(lock,),
                )
                pid = child.pid
                self._children[pid] = child
        crashpoint("backend.started")
        return handle_of(pid)

    def _arguments(self, command: Command) -> list[str]:
        return [
            str(command.folder), command.module, "--spec", str(command.spec),
            f"--processes={command.processes}", f"--attempt={command.attempt}", "--record",
            f"--seconds={command.seconds or self._defaults.seconds}",
            f"--notice={self._defaults.notice}",
        ]  # fmt: skip

    def observe(self, handle: str, folder: Path) -> Phase:
        """Running while the process is alive, then the state of its exit status."""
        if self._alive(handle):
            return "running"
        phase = ended_phase(status(folder))
        if phase == "interrupted":
            end_leftovers(folder)  # killed, or the machine went down
        return phase

    def stop(self, handle: str, folder: Path, *, wait: float = 20.0) -> None:
        """SIGTERM to the whole session, SIGKILL to what is left after `wait` seconds."""
        if handle == REFUSED:
            return
        pid = int(handle.partition(":")[0])
        deadline = time.monotonic() + wait
        sign = signal.SIGTERM
        while self._alive(handle):
            if time.monotonic() > deadline:
                sign = signal.SIGKILL
            if sign == signal.SIGKILL or time.monotonic() < deadline - wait + 0.1:
                with suppress(ProcessLookupError):
                    os.killpg(pid, sign)
            time.sleep(0.1)
        end_leftovers(folder)

    def close(self) -> None:
        """End the fork server."""
        if self._forks is not None:
            self._forks.close()

    def _alive(self, handle: str) -> bool:
        if handle == REFUSED:
            return False
        pid, _, started = handle.partition(":")
        child = self._children.get(int(pid))
        if child is not None and child.poll() is not None:
            return False
        return bool(started) and start_time(int(pid)) == started


def _try_lock(path: Path) -> int | None:
    """The lock's descriptor, or `None` if it is held."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        return None
    return descriptor
