"""Start a server as a child, wait until it answers, end it by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NoReturn

import pytest

# The test that runs now, if it may not start a server (set by tests/support/suites.py).
unmarked = ""


def check_marked() -> None:
    """Fail a test that starts a server and is not marked `server`."""
    assert not unmarked, f"{unmarked} starts a server: mark it `server`"


def missing(what: str, how: str) -> NoReturn:
    """Skip on a laptop without a server, fail in CI: there, nothing may go untested."""
    message = f"{what} is not installed: {how}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


class ServerProcess:
    """A server with a session of its own: it can be killed, stopped, and started on its data."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        seconds: float = 30,
        user: str | None = None,
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._command, self._log, self._ready, self._env = command, log, ready, env
        self._seconds, self._user, self._stop = seconds, user, stop
        self._child: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it answers; its output goes to the end of its log."""
        check_marked()
        with self._log.open("ab") as out:
            self._child = child = subprocess.Popen(
                self._command,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(self._env or {})},
                user=self._user,
                start_new_session=True,
            )
        deadline = time.monotonic() + self._seconds
        while not self._ready():
            if child.poll() is not None or time.monotonic() > deadline:
                said = self._log.read_text()[-3000:]
                raise RuntimeError(f"{self._command[0]} did not start:\n{said}")
            time.sleep(0.05)

    def kill(self) -> None:
        """As a machine that is gone: SIGKILL, to it and all that it has started."""
        self.signal(signal.SIGKILL)
        if self._child is not None:
            self._child.wait()
        self._child = None

    def signal(self, sign: signal.Signals) -> None:
        """Send a signal to it and all that it has started."""
        if self._child is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._child.pid, sign)

    def end(self) -> None:
        """Ask it to end, and wait."""
        if self._child is None:
            return
        self._child.send_signal(self._stop)
        try:
            self._child.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()
        self._child = None


@contextmanager
def running(
    command: Sequence[str],
    *,
    log: Path,
    ready: Callable[[], bool],
    env: Mapping[str, str] | None = None,
    seconds: float = 30,
    user: str | None = None,
    stop: signal.Signals = signal.SIGTERM,
) -> Iterator[ServerProcess]:
    """Run a server until `stop` ends it with the block; its output goes to `log`."""
    log.write_bytes(b"")
    server = ServerProcess(
        command, log=log, ready=ready, env=env, seconds=seconds, user=user, stop=stop
    )
    try:
        server.start()
        yield server
    finally:
        server.end()
