"""A real Triton server, from wheels."""

from __future__ import annotations

from pathlib import Path

from tests.support.servers.ports import free_port
from tests.support.servers.process import check_marked, missing
from vila2.triton.install import Installed, TritonMissing
from vila2.triton.server import TritonServer


def triton_server(repository: Path, *, port: int | None = None) -> TritonServer:
    """A server over a repository, not started yet; `port` and the two after it are its own."""
    check_marked()
    try:
        Installed.default().check()
    except TritonMissing as error:
        missing("Triton", str(error))
    first = port or free_port(room=3)
    repository.mkdir(parents=True, exist_ok=True)
    log = repository.parent / "triton.log"
    return TritonServer(str(repository), log, first, first + 1, first + 2)
