"""Starts jobs as forks of one process that has already imported what they need.

A trainer or an evaluator spends seconds on importing torch and transformers. This server imports a
job's module, and what the module names in `LATE_IMPORTS`, when a job of it first comes, and forks
from then on; memory is shared until a job writes to it. A process with threads must not fork, so
the server imports and never computes.

It reads requests from a socket and ends when the platform closes the other end, or dies. A fork
leads a session of its own and needs the server no more: it runs `supervise`, which forks the job.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from functools import partial
from importlib import import_module
from pathlib import Path

from services.training.backends import supervise

_ROOM = 16_384  # bytes of its command line, in which a fork shows what it runs
_LARGEST = 2**20  # bytes of a request
_ANSWER_SECONDS = 60.0
_IDLE_SECONDS = 600.0  # what is imported takes memory, so a server that has nothing to do ends
_SIGNALS = {signal.SIGTERM, signal.SIGINT}


class ForkLost(RuntimeError):
    """The server did not answer: it may have started the job, or not."""


class ForkServer:
    """The platform's side. The server is started when it is needed, also after it has ended."""

    def __init__(self) -> None:
        self._one_at_a_time = threading.Lock()
        self._server: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None

    def start(
        self, arguments: list[str], environment: dict[str, str], *, module: str, log: int, lock: int
    ) -> int | None:
        """Run `supervise` with these arguments; returns its process id, `None` if it cannot fork.

        It writes to `log` and holds `lock` as long as it lives. Raises `ForkLost`.
        """
        asked = {"arguments": arguments, "environment": environment, "module": module}
        message = json.dumps({**asked, "folder": str(Path.cwd())}).encode()
        with self._one_at_a_time:
            for _ in range(2):  # a server that has ended is replaced
                connection = self._socket or self._begin(environment)
                try:
                    socket.send_fds(connection, [message], [log, lock])
                    break
                except OSError:
                    self._end()
            else:
                return None
            try:
                return int(connection.recv(64)) or None
            except (OSError, ValueError) as error:
                self._end()
                raise ForkLost("the fork server ended while it started a job") from error

    def close(self) -> None:
        """End the server; what it started runs on."""
        with self._one_at_a_time:
            self._end()

    def _begin(self, environment: dict[str, str]) -> socket.socket:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(_ANSWER_SECONDS)
        with its:
            self._server = subprocess.Popen(
                [sys.executable, "-m", __name__, str(its.fileno()), " " * _ROOM],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # a terminal's Ctrl-C is meant for the platform
                pass_fds=(its.fileno(),),
                # Libraries that start threads when they are imported must not do so here.
                env={
                    **environment,
                    "OMP_NUM_THREADS": "1",
                    "JE_ARROW_MALLOC_CONF": "background_thread:false",
                },
            )
        self._socket = ours
        return ours

    def _end(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._server is not None:
            self._server.kill()
            self._server.wait()
        self._server = self._socket = None


class ForkedModule:
    """`[python, -m, MODULE, ...]` as a fork of this process: a supervisor's child like `Popen`."""

    def __init__(self, command: list[str], *, lock: int) -> None:
        self._ended = False
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self._pid = os.fork()
        if self._pid:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            return
        os.close(lock)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        _show(command)
        module, sys.argv = command[2], command[2:]
        sys.modules.pop(module, None)
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        sys.exit(0)

    def send_signal(self, number: int) -> None:
        """Send a signal; does nothing if the process has ended."""
        if not self._ended:
            os.kill(self._pid, number)

    def wait(self) -> int:
        """Its status; negative for the signal that ended it."""
        os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        self._ended = True  # before its process id can be reused
        return os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])


def main() -> int:
    """Serve until idle or until the platform exits. In a fork, run a supervisor."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    connection.settimeout(_IDLE_SECONDS)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are not waited for
    while True:
        try:
            message, (log, lock), _, _ = socket.recv_fds(connection, _LARGEST, 2)
        except TimeoutError:
            with suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
                continue  # a job is running
            return 0
        except (OSError, ValueError):
            return 0  # the platform has closed its end
        asked = json.loads(message)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.close(log)
        _import(asked["module"])
        if not _may_fork(asked["arguments"]):
            connection.send(b"0")
        elif os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            os.chdir(asked["folder"])
            os.environ.clear()
            os.environ.update(asked["environment"])
            _show([sys.executable, "-m", supervise.__name__, *asked["arguments"]])
            with connection, suppress(OSError):  # a platform that died meanwhile will find the job
                connection.send(str(os.getpid()).encode())
            return supervise.main(asked["arguments"], begin=partial(ForkedModule, lock=lock))
        os.close(lock)


def _import(module: str) -> None:
    if module in sys.modules:
        return
    with suppress(Exception):  # the job itself will report the error
        for name in getattr(import_module(module), "LATE_IMPORTS", ()):
            import_module(name)
    gc.collect()
    gc.freeze()  # the collector would write to memory that is shared


def _may_fork(arguments: list[str]) -> bool:
    alone = len(list(Path("/proc/self/task").iterdir())) == 1
    return alone and sum(len(os.fsencode(word)) + 1 for word in arguments) < _ROOM


def _show(command: list[str]) -> None:
    """Make this process's command line, as /proc has it, that of what it runs: leftovers are found
    by it, and people read it in `ps`."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    begin, end = int(fields[45]), int(fields[46])
    text = b"\0".join(os.fsencode(word) for word in command)
    ctypes.memset(begin, 0, end - begin)
    ctypes.memmove(begin, text, min(len(text), end - begin - 1))


if __name__ == "__main__":
    sys.exit(main())
