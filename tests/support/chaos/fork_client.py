"""Asks `fork_server.py` for processes, and sees to their ends."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class Process:
    """One that was forked.

    It is held by a descriptor: its number may be another's, or a thread's, as soon as it has ended.
    """

    def __init__(self, pid: int) -> None:
        self.pid, self._held = pid, os.pidfd_open(pid)

    def __del__(self) -> None:
        os.close(self._held)

    @property
    def lives(self) -> bool:
        """Whether it has not ended."""
        return not select.select([self._held], [], [], 0)[0]

    def signal(self, sign: signal.Signals) -> None:
        """Send a signal, if it is there."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._held, sign)

    def end(self, *, seconds: float = 20.0) -> None:
        """Ask it to end, and make it."""
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        if not self.gone(seconds):
            self.kill()

    def kill(self) -> None:
        """As a machine that is gone."""
        self.signal(signal.SIGKILL)
        self.gone(20)

    def gone(self, seconds: float) -> bool:
        """Wait until it has ended; False where it has not."""
        return bool(select.select([self._held], [], [], seconds)[0])


class ForkClient:
    """One parent of all processes; it holds everything imported."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._parent = subprocess.Popen(
            [sys.executable, "-m", "tests.support.chaos.fork_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def fork(
        self, module: str, arguments: Sequence[str], environment: Mapping[str, str], log: Path
    ) -> Process:
        """A new process that runs a module's `main`."""
        asked = {
            "module": module,
            "arguments": list(arguments),
            "environment": dict(environment),
            "log": str(log),
        }
        assert self._parent.stdin is not None
        assert self._parent.stdout is not None
        with self._lock:
            self._parent.stdin.write(json.dumps(asked) + "\n")
            self._parent.stdin.flush()
            return Process(int(self._parent.stdout.readline()))

    def close(self) -> None:
        """No process is started any more."""
        if self._parent.stdin is not None:
            self._parent.stdin.close()
        self._parent.wait(10)
