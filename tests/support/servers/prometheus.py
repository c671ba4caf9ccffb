"""Prometheus and its tools, from Debian's packages."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.servers.ports import free_port
from tests.support.servers.process import missing, running


def tool(name: str) -> str:
    """Where a program of Prometheus is; `prometheus`, `promtool` or `amtool`."""
    found = shutil.which(name)
    if found is None:
        missing(name, "apt-get install prometheus prometheus-alertmanager")
    return found


def ask(name: str, *words: str | Path) -> str:
    """What one of the tools prints; it fails the test where the tool is not content."""
    done = subprocess.run(
        [tool(name), *map(str, words)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A server that scrapes."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API; raises `ValueError` with its reason."""
        address = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(address, timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from error

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression gives now."""
        data = self.get("query", query=expression)
        found: list[dict[str, Any]] = data["result"]
        return found


@contextmanager
def prometheus(folder: Path, configuration: str) -> Iterator[Prometheus]:
    """A server with this configuration; what its paths are relative to is `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(configuration)
    made = Prometheus(f"http://127.0.0.1:{free_port()}")
    command = [
        tool("prometheus"), f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address={made.url.removeprefix('http://')}", "--log.level=warn",
    ]  # fmt: skip

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{made.url}/-/ready", timeout=1) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    with running(command, log=folder / "prometheus.log", ready=answers):
        yield made
