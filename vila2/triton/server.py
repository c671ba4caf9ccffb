"""Runs Triton as a child process, or replaces this process by it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from vila2.triton.install import Installed, TritonMissing, libpython
from vila2.triton.traces import trace_options


def free_ports(count: int) -> tuple[int, ...]:
    """Return currently unused loopback ports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return tuple(one.getsockname()[1] for one in sockets)


@dataclass
class TritonServer:
    """One server over a model repository: a folder, or an address `s3://http://HOST:PORT/B/P`.

    Models are loaded on a client's request (explicit control); `threads` is the limit of each
    model's process, `host` the address it listens on. `env` holds the storage's keys if the
    repository is in S3.
    """

    repository: str
    log: Path
    grpc_port: int
    http_port: int
    metrics_port: int
    threads: int = 1
    host: str = "127.0.0.1"
    env: Mapping[str, str] = field(default_factory=dict)
    installed: Installed = field(default_factory=Installed.default)
    _child: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The address for gRPC clients."""
        return f"127.0.0.1:{self.grpc_port}"

    @property
    def metrics_url(self) -> str:
        """The URL of its Prometheus metrics."""
        return f"http://127.0.0.1:{self.metrics_port}/metrics"

    @property
    def pid(self) -> int:
        """The server's process id."""
        assert self._child is not None
        return self._child.pid

    def start(self, *, seconds: float = 60.0) -> None:
        """Start and wait until it is ready; raises `TritonMissing` with the end of its log."""
        self.installed.check()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            child = self._child = subprocess.Popen(
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env=self._env(),
                start_new_session=True,  # keeps Ctrl-C from reaching it
            )
        end = time.monotonic() + seconds
        while not self.ready():
            if child.poll() is not None or time.monotonic() > end:
                self.kill()
                raise TritonMissing(
                    f"Triton did not start; the end of {self.log}:\n{self.log.read_text()[-2000:]}"
                )
            time.sleep(0.05)

    def become(self) -> NoReturn:
        """Replace this process by the server, as the program of a container should be.

        Its log goes to this process's output. Raises `TritonMissing` if it is not installed.
        """
        self.installed.check()
        command = self._command()
        os.execve(command[0], list(command), self._env())  # noqa: S606

    def ready(self) -> bool:
        """Whether the server answers its readiness check."""
        try:
            address = f"http://127.0.0.1:{self.http_port}/v2/health/ready"
            with urllib.request.urlopen(address, timeout=1) as answer:  # loopback
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def ended(self) -> int | None:
        """Exit status of a crashed server; None while it runs, or after `stop` or `kill`."""
        child = self._child
        return None if child is None else child.poll()

    def restart(self) -> None:
        """Clean up after a crashed server and start it again; raises as `start` does."""
        self._sweep(self._child)
        self.start()

    def stop(self) -> None:
        """Stop the server after its running requests have ended."""
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self._sweep(child)

    def kill(self) -> None:
        """End the server and its models' processes at once."""
        child, self._child = self._child, None
        if child is not None and child.poll() is None:
            child.kill()
            child.wait()
        self._sweep(child)

    def __enter__(self) -> TritonServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _sweep(self, child: subprocess.Popen[bytes] | None) -> None:
        """Clean up after a dead server: its models' processes, and shared memory."""
        if child is not None:
            # They belong to its session, which exists as long as one of them runs.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child.pid, signal.SIGKILL)
        for left in Path("/dev/shm").glob(f"{self._shared_memory}*"):  # noqa: S108
            with contextlib.suppress(OSError):
                left.unlink()

    @property
    def _shared_memory(self) -> str:
        return f"vila2_{self.grpc_port}_"

    def _env(self) -> dict[str, str]:
        return {**os.environ, **_environment(self.installed, self.threads), **self.env}

    def _command(self) -> Sequence[str]:
        installed = self.installed.server
        return [
            str(self.installed.binary),
            f"--model-repository={self.repository}",
            f"--backend-directory={installed / 'backends'}",
            f"--cache-directory={installed / 'caches'}",
            "--model-control-mode=explicit",
            "--exit-on-error=false",
            # Models' configurations are complete; auto-completion would start each process twice.
            "--disable-auto-complete-config",
            "--exit-timeout-secs=10",
            f"--http-address={self.host}", f"--http-port={self.http_port}",
            f"--grpc-address={self.host}", f"--grpc-port={self.grpc_port}",
            f"--metrics-address={self.host}", f"--metrics-port={self.metrics_port}",
            "--allow-gpu-metrics=false", "--allow-sagemaker=false", "--allow-vertex-ai=false",
            # Loading large weights, and starting vLLM, takes minutes.
            "--backend-config=python,stub-timeout-seconds=600",
            f"--backend-config=python,shm-region-prefix-name={self._shared_memory}",
            *trace_options(os.environ),
        ]  # fmt: skip


def _environment(installed: Installed, threads: int) -> dict[str, str]:
    """Environment variables that make the backend's processes use the environment with NumPy 1.

    They find it by the `python3` on PATH, and must load that interpreter's own library: another of
    the same version number may not fit its standard library.
    """
    found = os.environ.get("LD_LIBRARY_PATH", "")
    return {
        "PATH": os.pathsep.join([str(installed.environment / "bin"), os.environ.get("PATH", "")]),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, [str(libpython().parent), found])),
        "OMP_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "false",
    }
