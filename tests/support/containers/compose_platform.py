"""The platform in containers, as a test asks it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.containers.docker_engine import Engine
from tests.support.paths import REPOSITORY

PROJECT = "vila2-test"
URL = "http://127.0.0.1:8620"
_FILES = ("-f", "docker-compose.yml", "-f", "tests/system/containers/compose.yml")
_ENV = {
    "COMPOSE_PROJECT_NAME": PROJECT, "POSTGRES_PASSWORD": "a1", "REDIS_PASSWORD": "b2",
    "S3_SECRET_KEY": "c3", "GRAFANA_ADMIN_PASSWORD": "d4", "TORCH_INDEX": "",
    "TRAINING_THREADS": "1", "COMPOSE_PARALLEL_LIMIT": "1",  # else the builder makes stages twice
}  # fmt: skip


@dataclass(frozen=True)
class Driven:
    """A run that was driven to its end: what was said on the way, and what came of it."""

    lines: list[str]
    outcome: dict[str, Any]
    report: str


@dataclass(frozen=True)
class Platform:
    """What `docker compose` brought up in an engine."""

    engine: Engine

    def compose(self, *arguments: str) -> str:
        """The output of a `docker compose` command."""
        return self.engine.compose(*_FILES, *arguments, env=_ENV)

    def container(self, service: str, index: int = 1) -> str:
        """A container's name."""
        return f"{PROJECT}-{service}-{index}"

    def sql(self, question: str) -> str:
        """What the database answers."""
        psql = ("psql", "-U", "vila2", "-d", "vila2", "-h", "127.0.0.1", "-tAc", question)
        given = ("-e", "PGPASSWORD=a1", self.container("postgres"))
        return self.engine.docker("exec", *given, *psql).strip()

    def get(self, url: str) -> str:
        """A page as it is seen on the machine of the engine."""
        program = (
            "import sys, urllib.request as u;"
            "print(u.urlopen(sys.argv[1], timeout=10).read().decode())"
        )
        done = subprocess.run(
            self.engine.inside(sys.executable, "-c", program, url),
            capture_output=True, text=True, timeout=30, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def drive(self, folder: Path, *, heard: Callable[[str], None] = print) -> Driven:
        """Submit the datasets, run the small recipe to its end; `heard` is told each line."""
        key = self.compose("exec", "-T", "controller", "cat", "/var/lib/vila2/key").strip()
        command = (sys.executable, "-m", "tests.support.containers.drive", URL, key, str(folder))
        lines: list[str] = []
        with (folder / "errors.txt").open("w+") as errors:
            child = subprocess.Popen(
                self.engine.inside(*command),
                stdout=subprocess.PIPE, stderr=errors, text=True, cwd=REPOSITORY,
            )  # fmt: skip
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    lines.append(line.rstrip())
                    heard(lines[-1])
                assert child.wait() == 0, (lines[-5:], (folder / "errors.txt").read_text()[-3000:])
            finally:
                child.kill()
                child.wait()
        outcome = json.loads((folder / "outcome.json").read_text())
        return Driven(lines, outcome, (folder / "report.html").read_text())
