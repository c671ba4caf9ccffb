"""The platform as processes of their own on real servers, each reaching each by a link of its own.

A link is a proxy: between any two, the network can be cut while all others still talk.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.platform.targets import TARGETS
from tests.support.chaos.fork_client import ForkClient, Process
from tests.support.chaos.proxy import Mode, Proxy
from tests.support.servers.ports import free_ports
from tests.support.servers.postgres import PostgresServer, postgres
from tests.support.servers.process import ServerProcess
from tests.support.servers.seaweedfs import S3Server, seaweedfs
from tests.support.servers.valkey import Broker, valkey
from tests.support.waiting import until
from vila2.client import Client

WORKERS = ("caption-worker", "caption-worker-2")
SERVERS = ("postgres", "redis", "s3")
LEASE_SECONDS = 5  # of a shard; 60 as shipped, which would make each dead worker a minute's wait


@dataclass(frozen=True)
class Servers:
    """What the platform stands on; `database` is the name of the platform's own."""

    postgres: PostgresServer
    redis: Broker
    s3: S3Server
    database: str

    def process(self, name: str) -> ServerProcess:
        """A server by its name."""
        found = {"postgres": self.postgres, "redis": self.redis, "s3": self.s3}[name].process
        assert found is not None
        return found

    def port(self, name: str) -> int:
        """Where it listens."""
        s3 = int(self.s3.endpoint.rpartition(":")[2])
        return {"postgres": self.postgres.port, "redis": self.redis.port, "s3": s3}[name]


class Stack:
    """Five services and two caption workers over `servers`, in the folder `workspace`."""

    def __init__(self, workspace: Path, servers: Servers) -> None:
        self.workspace, self.servers = workspace, servers
        self.names = [*TARGETS, *WORKERS]
        self.ports = dict(zip(self.names, free_ports(len(self.names)), strict=True))
        self.address = ",".join(f"{name}=http://127.0.0.1:{self.ports[name]}" for name in TARGETS)
        self.links = {name: self._linked() for name in self.names}
        self.children: dict[str, Process] = {}
        self._key, self._forks = "", ForkClient()

    def _linked(self) -> dict[str, Proxy]:
        """A way of its own to everything that a process may talk to."""
        behind = {name: self.ports[name] for name in TARGETS}
        behind |= {name: self.servers.port(name) for name in SERVERS}
        ports = free_ports(len(behind))
        return {name: Proxy(port, behind[name]) for name, port in zip(behind, ports, strict=True)}

    def _environment(self, name: str) -> dict[str, str]:
        port = {target: link.port for target, link in self.links[name].items()}
        s3, redis = self.servers.s3, f"redis://127.0.0.1:{port['redis']}/0"
        database = f"postgres@127.0.0.1:{port['postgres']}/{self.servers.database}"
        return {
            **os.environ,
            "VILA2_PLATFORM_URL": ",".join(
                f"{target}=http://127.0.0.1:{port[target]}" for target in TARGETS
            ),
            "VILA2_DATABASE_URL": f"postgresql+psycopg://{database}",
            "VILA2_BROKER_URL": redis,
            "VILA2_S3_ENDPOINT": f"127.0.0.1:{port['s3']}",
            "VILA2_S3_ACCESS_KEY": s3.access_key,
            "VILA2_S3_SECRET_KEY": s3.secret_key,
            "VILA2_S3_SECURE": "false",
            "VILA2_SERVICE_KEY": self._key,
            "VILA2_LEASE_SECONDS": str(LEASE_SECONDS),
            "OMP_NUM_THREADS": "1",
        }

    def _fork(self, name: str, module: str, *arguments: str, clock: float = 0.0) -> Process:
        environment = {**self._environment(name), "CHAOS_CLOCK": str(clock)}
        words = [*arguments, "--workspace", str(self.workspace)]
        return self._forks.fork(module, words, environment, self._log(name))

    def prepare(self) -> None:
        """Databases, bucket, keys."""
        child = self._fork("controller", "services.platform.serve", "--prepare")
        assert child.gone(120), self.log("controller")
        self._key = (self.workspace / "service-key").read_text().strip()

    def start(self, *names: str, clock: float = 0.0, seconds: float = 90) -> None:
        """Start processes at once, and wait until each answers."""
        for name in names:
            port = str(self.ports[name])
            if name in WORKERS:
                words = [
                    "services.caption.jobs.worker_command",
                    "--concurrency",
                    "1",
                    "--metrics-port",
                    port,
                ]
            else:
                words = ["services.platform.serve", "--target", name, "--port", port]
            self.children[name] = self._fork(name, *words, clock=clock)
        for name in names:
            until(lambda name=name: self.answers(name), seconds=seconds)

    def answers(self, name: str) -> bool:
        """Whether a process listens."""
        assert self.children[name].lives, self.log(name)
        try:
            socket.create_connection(("127.0.0.1", self.ports[name]), timeout=1).close()
        except OSError:
            return False
        return True

    def kill(self, *names: str) -> None:
        """As machines that are gone: SIGKILL."""
        self.signal(signal.SIGKILL, *names)
        for name in names:
            self.children.pop(name).kill()

    def signal(self, sign: signal.Signals, *names: str) -> None:
        """Send a signal to each."""
        for name in names:
            self.children[name].signal(sign)

    def network(self, mode: Mode, *, of: tuple[str, ...], to: tuple[str, ...] = ()) -> None:
        """Change the links from these processes to those, by default to everything."""
        for name in of:
            for target, link in self.links[name].items():
                if not to or target in to:
                    link.be(mode)

    def lost_answers(self) -> int:
        """How many so far, over all links."""
        return sum(link.broken for links in self.links.values() for link in links.values())

    def client(self) -> Client:
        """A user's client, which no fault touches."""
        return Client.connect(self.address, key=(self.workspace / "key").read_text().strip())

    def casualties(self) -> str:
        """What the processes wrote last that have ended and were not killed; mostly nothing."""
        ended = [name for name, child in self.children.items() if not child.lives]
        return "".join(f"\n{name} has ended:\n{self.log(name)}" for name in ended)

    def log(self, name: str) -> str:
        """The end of a process's log."""
        return self._log(name).read_text()[-4000:]

    def _log(self, name: str) -> Path:
        return self.workspace.parent / f"{name}.log"

    def stop(self) -> None:
        """End everything."""
        for child in self.children.values():
            child.signal(signal.SIGCONT)
            child.signal(signal.SIGTERM)
        for child in self.children.values():
            child.end()
        self._forks.close()
        for links in self.links.values():
            for link in links.values():
                link.close()


@contextmanager
def stack(folder: Path, *, workspace_bytes: int = 256 * 2**20) -> Iterator[Stack]:
    """Everything started; the workspace is a file system of its own where that can be had."""
    with ExitStack() as held:
        server = held.enter_context(postgres(forgets=False))
        servers = Servers(
            server,
            held.enter_context(valkey(folder / "valkey")),
            held.enter_context(seaweedfs(folder / "s3")),
            server.new_database().rpartition("/")[2],
        )
        workspace = folder / "workspace"
        workspace.mkdir()
        if _mounted(workspace, workspace_bytes):
            held.callback(subprocess.run, ["umount", "-l", str(workspace)], check=False)
        made = Stack(workspace, servers)
        held.callback(made.stop)
        made.prepare()
        made.start(*made.names)
        yield made


def _mounted(folder: Path, size: int) -> bool:
    """Give a folder a small file system of its own; only root can, on Linux."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    try:
        return subprocess.run(command, check=False, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False
