"""The platform as processes of their own, on real servers: PostgreSQL, Redis, S3, Triton."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from services.platform.targets import TARGETS
from tests.support.servers.ports import free_port, free_ports
from tests.support.servers.postgres import postgres
from tests.support.servers.seaweedfs import seaweedfs
from tests.support.servers.valkey import valkey
from tests.support.waiting import until
from vila2.client import Client
from vila2.triton.server import TritonServer

WORKER = "caption-worker"


class DistributedPlatform:
    """Five services and a caption worker; each can be killed and started again."""

    def __init__(self, workspace: Path, env: dict[str, str]) -> None:
        self.workspace, self._env = workspace, env
        self.ports = dict(zip([*TARGETS, WORKER], free_ports(len(TARGETS) + 1), strict=True))
        self.address = ",".join(f"{n}=http://127.0.0.1:{self.ports[n]}" for n in TARGETS)
        self.children: dict[str, subprocess.Popen[bytes]] = {}
        self._env |= {"VILA2_PLATFORM_URL": self.address}

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        log = (self.workspace.parent / "services.log").open("ab")
        command = [sys.executable, "-m", *arguments, "--workspace", str(self.workspace)]
        return subprocess.Popen(
            command, env={**os.environ, **self._env}, stdout=log, stderr=subprocess.STDOUT
        )

    def prepare(self) -> None:
        assert self.run("services.platform.serve", "--prepare").wait(120) == 0, self.log()
        self._env["VILA2_SERVICE_KEY"] = (self.workspace / "service-key").read_text().strip()

    def start(self, name: str) -> None:
        """Start a service or the worker, and wait until a service answers."""
        port = str(self.ports[name])
        if name == WORKER:
            command = [
                "services.caption.jobs.worker_command",
                "--metrics-port",
                port,
                "--concurrency",
                "1",
            ]
        else:
            command = ["services.platform.serve", "--target", name, "--port", port]
        self.children[name] = self.run(*command)
        until(lambda: self.metrics(name) != "", seconds=90)

    def kill(self, name: str) -> None:
        """As a machine that is gone: SIGKILL."""
        self.children[name].send_signal(signal.SIGKILL)
        self.children.pop(name).wait()

    def metrics(self, name: str) -> str:
        """What Prometheus would scrape; empty where nobody answers."""
        try:
            url = f"http://127.0.0.1:{self.ports[name]}/metrics"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return str(answer.read().decode())
        except (urllib.error.URLError, OSError):
            return ""

    def client(self) -> Client:
        return Client.connect(self.address, key=(self.workspace / "key").read_text().strip())

    def log(self) -> str:
        return (self.workspace.parent / "services.log").read_text()[-4000:]

    def stop(self) -> None:
        for child in self.children.values():
            child.terminate()
        for child in self.children.values():
            try:
                child.wait(40)
            except subprocess.TimeoutExpired:
                child.kill()


@contextmanager
def distributed_platform(folder: Path) -> Iterator[DistributedPlatform]:
    """Everything started, in the order in which an operator would."""
    with ExitStack() as held:
        database = held.enter_context(postgres()).new_database()
        broker = held.enter_context(valkey(folder / "valkey"))
        s3 = held.enter_context(seaweedfs(folder / "s3"))
        env = {
            "VILA2_DATABASE_URL": database,
            "VILA2_BROKER_URL": broker.url,
            "VILA2_S3_ENDPOINT": s3.endpoint,
            "VILA2_S3_ACCESS_KEY": s3.access_key,
            "VILA2_S3_SECRET_KEY": s3.secret_key,
            "VILA2_S3_SECURE": "false",
            "OMP_NUM_THREADS": "1",
        }
        workspace = folder / "workspace"
        made = DistributedPlatform(workspace, env)
        made.prepare()
        port = free_port(room=3)
        triton = TritonServer(
            f"s3://http://{s3.endpoint}/vila2/serving", folder / "triton.log",
            port, port + 1, port + 2,
            env={"AWS_ACCESS_KEY_ID": s3.access_key, "AWS_SECRET_ACCESS_KEY": s3.secret_key,
                 "AWS_DEFAULT_REGION": "us-east-1"},
        )  # fmt: skip
        held.enter_context(triton)
        env["VILA2_TRITON_URL"] = triton.url
        held.callback(made.stop)
        for name in (*TARGETS, WORKER):
            made.start(name)
        yield made
