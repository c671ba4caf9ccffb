"""`vila2 audit`: which key did what, when, and how it ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from vila2.cli import terminal
from vila2.cli.terminal import moment
from vila2.cli.workspace import DEFAULT_WORKSPACE, Key, Url, Workspace, connected

console = terminal.console()


def audit(
    team: Annotated[str, typer.Option(help="Of this team; the platform's admin sees all.")] = "",
    by: Annotated[str, typer.Option(help="Only of this key, by its prefix.")] = "",
    user: Annotated[str, typer.Option(help="Only of this user.")] = "",
    service: Annotated[str, typer.Option(help="Only of this service.")] = "",
    status: Annotated[int | None, typer.Option(help="Only with this status, such as 403.")] = None,
    path: Annotated[str, typer.Option(help="Part of the path, such as a run's id.")] = "",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day on (UTC).")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 50,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Requests that changed something, and requests that were refused, the newest first."""
    table = Table("when", "service", "status", "request", "key", "user", "team", "request id")
    with connected(workspace, url, key) as client:
        for entry in client.identity.audit(
            limit=limit, team=team, key=by, user=user, service=service, status=status, path=path,
            since=since.replace(tzinfo=UTC).timestamp() if since else None,
        ):  # fmt: skip
            table.add_row(
                moment(entry.at), entry.service, str(entry.status),
                f"{entry.method} {entry.path}", entry.key, entry.user, entry.team,
                entry.request_id,
            )  # fmt: skip
    console.print(table)
