"""`vila2 doctor`: whether this installation is in order, and what to do where it is not."""

from __future__ import annotations

from typing import Annotated

import typer

from vila2.cli import terminal
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, served
from vila2.doctor import machine, platform
from vila2.doctor.finding import Finding, as_json, as_table, healthy


def doctor(
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
    json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """Check Python, packages, workspace, keys and the platform; exit status 1 on a problem.

    With `--url`, or where `vila2 up` runs this workspace, its services are asked. Otherwise what
    the platform would stand on in this process is looked at: databases, objects, engine, backend.
    On a server, `vila2-service --doctor` looks at what only that machine reaches.
    """
    found = machine.findings(workspace)
    if url or (workspace / "server.json").exists():
        found += platform.findings(*_served(workspace, url, key))
    else:
        found += _embedded(workspace)
    if json:
        typer.echo(as_json(found))
    else:
        terminal.console().print(as_table(found))
    if not healthy(found):
        raise typer.Exit(1)


def _served(workspace: Workspace, url: str, key: str) -> tuple[str, str]:
    """As other commands find them; without a key the services can still be looked at."""
    try:
        return served(workspace, url, key)
    except CliError:
        return url, key


def _embedded(workspace: Workspace) -> list[Finding]:
    """What the platform stands on, where it is installed here and has been run."""
    from vila2.cli.embedded import examined

    return examined(workspace) if workspace.exists() else []
