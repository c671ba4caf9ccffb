"""Where a command works: a server, or the platform in this process on a workspace folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vila2.client import Client

DEFAULT_WORKSPACE = Path(".vila2")

Workspace = Annotated[
    Path,
    typer.Option(
        "--workspace",
        "-w",
        envvar="VILA2_WORKSPACE",
        help="Folder that holds all data, models and databases.",
    ),
]
Url = Annotated[
    str, typer.Option("--url", envvar="VILA2_URL", help="A running platform; empty: this process.")
]
Key = Annotated[
    str, typer.Option("--key", envvar="VILA2_KEY", help="API key for --url.", show_default=False)
]


class CliError(Exception):
    """Something that the caller can put right; the message says how."""


@contextmanager
def connected(workspace: Path, url: str = "", key: str = "") -> Iterator[Client]:
    """A client: of `url`, of the `vila2 up` that runs this workspace, or of this process."""
    if url or (workspace / "server.json").exists():
        url, key = served(workspace, url, key)
        client = Client.connect(url, key=key)
        try:
            yield client
        finally:
            client.close()
        return
    from vila2.cli.embedded import embedded

    with embedded(workspace) as client:
        yield client


def served(workspace: Path, url: str = "", key: str = "") -> tuple[str, str]:
    """Address and key of a platform that runs: the one given, or that of this workspace."""
    told = workspace / "server.json"
    if not url:
        if not told.exists():
            raise CliError(
                f"no platform runs on {workspace}: start `vila2 up -w {workspace}`, or give --url"
            )
        url = str(json.loads(told.read_text())["url"])
    if not key:
        path = workspace / "key"
        if not path.exists():
            raise CliError(f"no key for {url}: give --key, or the server's --workspace")
        key = path.read_text().strip()
    return url, key
