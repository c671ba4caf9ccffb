"""Jobs as torchrun children of this machine, found again by process id and start time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from services.training.backend import Backend, Command, Phase

_PIDFILE = "process.json"


class LocalBackend(Backend):
    """Starts each job in a session of its own, so that it outlives a crash of the dispatcher."""

    def __init__(self) -> None:
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    def submit(self, key: str, command: Command) -> str:
        """Start torchrun, unless a process of this folder is running already."""
        held = _read_handle(command.folder)
        if held is not None and self._alive(held):
            return held
        _end_leftovers(command.folder)
        for name in ("exit.json", "error.txt"):
            (command.folder / name).unlink(missing_ok=True)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(command.threads),
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_OFFLINE": "1",
            # A job must not come to another's rendezvous.
            "TORCHELASTIC_RUN_ID": key,
        }
        supervise = [sys.executable, "-m", "services.training.supervise"]
        job = [str(command.folder), command.module, str(command.spec), str(command.processes)]
        with (command.folder / "log.txt").open("ab") as log:
            child = subprocess.Popen(
                [*supervise, *job],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )
        self._children[child.pid] = child
        handle = f"{child.pid}:{_start_time(child.pid)}"
        (command.folder / _PIDFILE).write_text(json.dumps({"handle": handle}))
        return handle

    def observe(self, handle: str, folder: Path) -> Phase:
        """Running while the process lives; afterwards, what its exit status says."""
        if self._alive(handle):
            return "running"
        try:
            status = int(json.loads((folder / "exit.json").read_text())["status"])
        except (OSError, ValueError, KeyError):
            _end_leftovers(folder)
            return "interrupted"  # killed, or the machine went down: go on from the checkpoint
        if status == 0:
            return "succeeded"
        return "interrupted" if status == 75 else "failed"

    def stop(self, handle: str, folder: Path, *, wait: float = 20.0) -> None:
        """SIGTERM to the whole session, SIGKILL to what is left after `wait` seconds."""
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
        _end_leftovers(folder)

    def _alive(self, handle: str) -> bool:
        pid, _, started = handle.partition(":")
        child = self._children.get(int(pid))
        if child is not None and child.poll() is not None:
            return False
        return _start_time(int(pid)) == started


def _end_leftovers(folder: Path) -> None:
    """Kill what a dead supervisor left running: two trainings in one folder would mix.

    torchrun gives each worker a session of its own, so a signal to the job's session is not enough.
    """
    for pid, arguments in _processes():
        pairs = set(pairwise(arguments))
        of_folder = ("services.training.supervise", str(folder)) in pairs or any(
            option == "--spec" and Path(value).parent == folder for option, value in pairs
        )
        if of_folder and pid != os.getpid():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Every process and its arguments; without /proc (macOS) as `ps` tells them."""
    if Path("/proc/self/cmdline").exists():
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                text = (entry / "cmdline").read_bytes().decode("utf-8", "replace")
                yield int(entry.name), text.split("\0")
        return
    listed = subprocess.run(
        ["/bin/ps", "-axo", "pid=,command="], capture_output=True, text=True, check=False
    )
    for line in listed.stdout.splitlines():
        pid, *arguments = line.split()
        yield int(pid), arguments


def _read_handle(folder: Path) -> str | None:
    try:
        return str(json.loads((folder / _PIDFILE).read_text())["handle"])
    except (OSError, ValueError, KeyError):
        return None


def _start_time(pid: int) -> str:
    """When a process started, in the system's ticks; empty when there is no such process.

    A process id alone may have been given to another process since.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return _start_time_without_proc(pid)
    fields = stat.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


def _start_time_without_proc(pid: int) -> str:
    """The same by `ps`, on systems without /proc (macOS)."""
    if Path("/proc/self/stat").exists():
        return ""
    found = subprocess.run(
        ["/bin/ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
