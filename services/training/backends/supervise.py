"""Runs one start of a job and writes how it ended.

    python -m services.training.backends.supervise

The dispatcher may be gone when its job ends, so the exit status goes into a file. Signals are
passed on to the training process, which checkpoints; before a time limit it is asked to as well.
A pod runs this too, so it imports no more than the standard library and needs the job's folder.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Protocol

from services.training.backends.backend import INTERRUPTED
from services.training.backends.folder import (
    Started,
    clear,
    has_result,
    write_started,
    write_status,
)
from vila2.system.processes import handle_of


def launcher(module: str, spec: str, *, processes: int, nodes: int) -> list[str]:
    """The command that trains; on several nodes torchrun reads the others' address from PET_*.

    One process needs no torchrun, which would import torch again only to wait.
    """
    run = ["-m", module, "--spec", spec]
    if processes * nodes == 1:
        return [sys.executable, *run]
    where = [] if nodes > 1 else ["--standalone", f"--nproc-per-node={processes}"]
    return [sys.executable, "-m", "torch.distributed.run", *where, "--max-restarts=0", *run]


class Child(Protocol):
    """The process interface that a supervisor uses."""

    def send_signal(self, number: int, /) -> None:
        """Send a signal; does nothing if the process has ended."""

    def wait(self) -> int:
        """Its status; negative for the signal that ended it."""


class Supervisor:
    """Runs a command that `begin` starts, passes signals on to it and keeps its time limit."""

    def __init__(
        self, *, seconds: int, notice: int, log: Path | None, begin: Callable[[list[str]], Child]
    ) -> None:
        self._seconds, self._notice, self._log, self._begin = seconds, notice, log, begin
        self._child: Child | None = None
        self.stopping = False

    def forward(self, number: int, _: FrameType | None = None) -> None:
        """Pass a signal on: the job is asked to exit."""
        self.stopping = True
        if self._child is not None:
            self._child.send_signal(number)

    def run(self, command: list[str]) -> int:
        """The command's status; `INTERRUPTED` if it was asked to exit or killed from outside."""
        if self.stopping:
            return INTERRUPTED
        copier = None
        if self._log is None:
            self._child = child = self._begin(command)
        else:
            logged = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self._child = child = logged
            copier = threading.Thread(target=_copy, args=(logged.stdout, self._log), daemon=True)
            copier.start()
        if self.stopping:  # the signal came before there was a child to pass it to
            child.send_signal(signal.SIGTERM)
        limit = threading.Timer(
            max(0, self._seconds - self._notice), self.forward, [signal.SIGTERM]
        )
        if self._seconds:
            limit.start()
        code = child.wait()
        limit.cancel()
        if copier is not None:
            copier.join(5)
        if code == -signal.SIGKILL or (code and self.stopping):
            return INTERRUPTED
        return code


def main(
    arguments: Sequence[str] | None = None,
    *,
    begin: Callable[[list[str]], Child] = subprocess.Popen,
) -> int:
    """Returns 0 if the job succeeded, `INTERRUPTED` or 1."""
    told = _arguments().parse_args(arguments)
    folder, spec = Path(told.folder), Path(told.spec)
    node = int(os.environ.get("PET_NODE_RANK", 0)) if told.nodes > 1 else 0
    if told.record:
        write_started(folder, Started(handle_of(os.getpid()), told.attempt))
    supervisor = Supervisor(
        seconds=told.seconds,
        notice=told.notice,
        log=folder / "log.txt" if told.log else None,
        begin=begin,
    )
    signal.signal(signal.SIGTERM, supervisor.forward)
    signal.signal(signal.SIGINT, supervisor.forward)
    if node == 0:
        clear(folder)
    code = supervisor.run(
        launcher(told.module, str(spec), processes=told.processes, nodes=told.nodes)
    )
    if code and has_result(spec) and not (folder / "error.txt").exists():
        # Its work was done: native libraries may abort a process that is on its way out.
        code = 0
    write_status(folder, code, node=node)
    return code if code in (0, INTERRUPTED) else 1


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder")
    parser.add_argument("module")
    parser.add_argument("--spec", required=True)
    parser.add_argument("--processes", type=int, required=True, help="on each node")
    parser.add_argument("--nodes", type=int, default=1)
    parser.add_argument("--attempt", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="put this process on record")
    parser.add_argument("--log", action="store_true", help="write log.txt beside standard output")
    parser.add_argument("--seconds", type=int, default=0, help="time limit, 0 for none")
    parser.add_argument("--notice", type=int, default=120, help="ask that long before the limit")
    return parser


def _copy(stream: IO[bytes], log: Path) -> None:
    with log.open("ab") as out:
        while data := os.read(stream.fileno(), 65536):
            out.write(data)
            out.flush()
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
