"""Pods as processes of this machine: the command, the environment, the grace, the exit code."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from tests.support.paths import REPOSITORY


class Pod:
    """One container, running until it ends or is ended."""

    def __init__(self, command: Sequence[str], env: Mapping[str, str], *, grace: float) -> None:
        self.grace, self._kill_at = grace, 0.0
        # An image has its own environment; here it is this one's Python and this repository.
        image = {
            "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
            "PYTHONPATH": str(REPOSITORY),
            "HOME": os.environ.get("HOME", "/"),
        }
        self._process = subprocess.Popen(
            command,
            env={**image, **env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def exit_code(self) -> int | None:
        """As a container's: 128 and the signal where one ended it; `None` while it runs."""
        if self._kill_at and time.monotonic() > self._kill_at:
            self.kill()
        code = self._process.poll()
        if code is None:
            return None
        return 128 - code if code < 0 else code

    def terminate(self, *, grace: float | None = None) -> None:
        """SIGTERM to the first process, SIGKILL to all after the grace, the first time that counts.

        A shorter grace shortens what is left, as `kubectl delete --grace-period=0` does.
        """
        kill_at = time.monotonic() + (self.grace if grace is None else grace)
        if not self._kill_at and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        self._kill_at = min(self._kill_at or kill_at, kill_at)

    def kill(self) -> None:
        """SIGKILL to every process, as when the node loses it; nothing if it has ended.

        The id of a process that has ended soon belongs to another, or to a thread of another.
        """
        if self._process.poll() is not None:
            return
        try:
            first = psutil.Process(self._process.pid)
            everyone = [*first.children(recursive=True), first]
        except psutil.NoSuchProcess:
            return
        for process in everyone:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        self._process.wait()
