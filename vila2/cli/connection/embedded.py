"""The platform in this process: found through an entry point, since the library has no server.

`vila2[embedded]` installs one; it registers a `Door` in the group `vila2.embedded`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from importlib.metadata import entry_points
from pathlib import Path
from socket import socket
from typing import Any, Protocol

from vila2.client import Client
from vila2.doctor.finding import Finding

GROUP = "vila2.embedded"


class PlatformRefused(Exception):
    """The workspace or environment cannot run a platform; the message gives the reason."""


class Platform(Protocol):
    """Owns all services in this process while it is open."""

    workspace: Path
    client: Client
    apps: Mapping[str, Any]


class Server(Protocol):
    """An HTTP server that is not running yet."""

    def run(self, sockets: list[socket]) -> None:
        """Serve on listening sockets until the process is told to stop."""


class Door(Protocol):
    """The interface of the embedded platform that the command line uses."""

    def open(self, workspace: Path, *, triton: bool) -> AbstractContextManager[Platform]:
        """The platform on a workspace; raises `PlatformRefused`."""

    def server(self, apps: Mapping[str, Any], *, stopping: Callable[[], None]) -> Server:
        """An HTTP server of every service below its own name; `stopping` is called by a signal."""

    def findings(self, workspace: Path) -> list[Finding]:
        """The checks of `vila2 doctor` on databases, objects, engine and backend."""


def door() -> Door:
    """The installed platform; raises `ModuleNotFoundError` if a part of it is missing."""
    for found in entry_points(group=GROUP):
        made: Door = found.load()()
        return made
    raise ModuleNotFoundError("no platform is installed", name=GROUP)
