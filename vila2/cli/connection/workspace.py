"""Connects a command to a server, or to an embedded platform on a workspace folder."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vila2.cli.connection.embedded import Platform, PlatformRefused, door
from vila2.client import Client, addresses
from vila2.doctor.finding import Finding
from vila2.system.processes import handle_of, start_time
from vila2.system.terminal import errors

DEFAULT_WORKSPACE = Path(".vila2")


class CliError(Exception):
    """An error that the user can fix; the message says how."""


@contextmanager
def connected(workspace: Path, url: str = "", key: str = "") -> Iterator[Client]:
    """A client of `url`, of the `vila2 up` that runs this workspace, or of this process."""
    if not (url or server_of(workspace)):
        with embedded(workspace) as here:
            yield here.client
        return
    url, key = served(workspace, url, key)
    client = Client.connect(url, key=key)
    try:
        yield client
    finally:
        client.close()


def served(workspace: Path, url: str = "", key: str = "") -> tuple[str, str]:
    """Address and key of a running platform: the one given, or that of this workspace."""
    url = _checked(url) if url else server_of(workspace)
    if not url:
        raise CliError(
            f"no platform runs on {workspace}: start `vila2 up -w {workspace}`, or give --url"
        )
    path = workspace / "key"
    if not key and not path.exists():
        raise CliError(f"no key for {url}: give --key, or the server's --workspace")
    key = key or path.read_text().strip()
    if not (key.isascii() and key.isprintable()):
        raise CliError("--key holds characters that no key has: give PREFIX.SECRET")
    return url, key


def server_of(workspace: Path) -> str:
    """The address of the `vila2 up` that runs a workspace; empty if none does.

    The entry of a killed server is recognised by its process: its pid may be in use again, but by a
    process that started later. A server on another host is trusted without this check.
    """
    try:
        held = json.loads(_server_file(workspace).read_text())
        number, _, began = held["process"].partition(":")
        here = held["host"] == socket.gethostname()
        gone = here and (not began or start_time(int(number)) != began)
        return "" if gone else str(held["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""


@contextmanager
def announced(workspace: Path, url: str, pid: int) -> Iterator[None]:
    """While open, announce to other commands that a server runs the workspace."""
    held = {"url": url, "host": socket.gethostname(), "process": handle_of(pid)}
    path = _server_file(workspace)
    path.write_text(json.dumps(held))
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _remove_stale(workspace: Path) -> None:
    """Remove the entry of a killed server; call it while this process holds the workspace."""
    path = _server_file(workspace)
    if path.exists() and not server_of(workspace):
        path.unlink(missing_ok=True)
        errors().print(
            f"the server that ran {workspace} was killed: its entry server.json is removed",
            style="dim",
            soft_wrap=True,
        )


def _server_file(workspace: Path) -> Path:
    return workspace / "server.json"


def _checked(url: str) -> str:
    """Raise `CliError` if a client cannot be made from the address."""
    try:
        addresses(url)
    except ValueError as error:
        raise CliError(f"--url: {error}; give one such as http://127.0.0.1:8620") from error
    return url


@contextmanager
def embedded(workspace: Path, *, triton: bool = False) -> Iterator[Platform]:
    """The platform in this process; raises `CliError` if its extra is not installed."""
    try:
        opened = door().open(workspace, triton=triton)
    except ModuleNotFoundError as error:
        raise CliError(
            f"{error.name} is not installed: `pip install 'vila2[embedded]'` runs the platform "
            "in this process, or give --url of one that runs"
        ) from error
    except PlatformRefused as error:
        raise CliError(str(error)) from error
    with opened as platform:
        _remove_stale(workspace)
        yield platform


def examined(workspace: Path) -> list[Finding]:
    """Checks of the embedded platform; none if its extra is not installed."""
    try:
        return door().findings(workspace)
    except ModuleNotFoundError:
        return []
