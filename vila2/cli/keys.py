"""`vila2 keys`: made, listed, rotated, revoked."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from vila2.api.identity import KeyIn, NewKey, Role
from vila2.cli import terminal
from vila2.cli.terminal import moment
from vila2.cli.workspace import DEFAULT_WORKSPACE, Key, Url, Workspace, connected
from vila2.client import Client

app = typer.Typer(no_args_is_help=True, help="API keys: PREFIX.SECRET, each with its scopes.")
console = terminal.console()
Prefix = Annotated[str, typer.Argument(help="What stands before the dot, as `keys list` tells it.")]
Team = Annotated[str, typer.Option("--team", help="Whose key; by default the own team.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Option(help="What it is for.")] = "",
    team: Team = "",
    role: Annotated[Role | None, typer.Option(help="The scopes of this role.")] = None,
    scope: Annotated[list[str] | None, typer.Option(help="A scope by name; repeatable.")] = None,
    service: Annotated[bool, typer.Option(help="For the services: VILA2_SERVICE_KEY.")] = False,
    user: Annotated[str, typer.Option(help="Whose own it is: it ends with the membership.")] = "",
    days: Annotated[float | None, typer.Option(help="Until it expires; never without.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Make a key and print it, once: it cannot be shown again. Needs identity:write.

    A key cannot hold a scope that the one which makes it lacks.
    """
    body = KeyIn(
        name=name, role=role, scopes=scope or None, service=service, user=user,
        expires_in_days=days,
    )  # fmt: skip
    with connected(workspace, url, key) as client:
        _print_new(client.identity.create_key(_team(client, team), body))


@app.command("list")
def list_keys(
    team: Team = "",
    ended: Annotated[bool, typer.Option("--all", help="Also those that have ended.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """A team's keys, the newest first; how many are not shown is said."""
    table = Table("prefix", "name", "user", "state", "scopes", "made", "expires", "last used")
    with connected(workspace, url, key) as client:
        found = client.identity.keys(_team(client, team))
    shown = [held for held in found if ended or held.state == "active"]
    for held in shown:
        table.add_row(
            held.prefix, held.name, held.user, held.state, " ".join(held.scopes),
            moment(held.created_at), moment(held.expires_at), moment(held.last_used_at),
        )  # fmt: skip
    console.print(table)
    if len(shown) < len(found):
        console.print(f"{len(found) - len(shown)} more have ended: --all shows them")


@app.command("rotate")
def rotate(
    prefix: Prefix,
    overlap_hours: Annotated[float, typer.Option(help="How long the old one goes on.")] = 24.0,
    team: Team = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Make a new key in place of one, and print it, once; the old one ends after the overlap."""
    with connected(workspace, url, key) as client:
        made = client.identity.rotate_key(_team(client, team), prefix, overlap_hours=overlap_hours)
        _print_new(made)


@app.command("revoke")
def revoke(
    prefix: Prefix,
    team: Team = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """End a key: within seconds no service accepts it."""
    with connected(workspace, url, key) as client:
        held = client.identity.revoke_key(_team(client, team), prefix)
        console.print(f"{held.prefix} {held.name}: {held.state}", markup=False)


def _team(client: Client, team: str) -> str:
    return team or client.identity.whoami().team


def _print_new(made: NewKey) -> None:
    """The key alone on its line, so that it can be taken by a script."""
    terminal.errors().print(
        f"{made.prefix} of team {made.team}: {' '.join(made.scopes)}"
        + (f", until {moment(made.expires_at)}" if made.expires_at else "")
        + "\nkeep it: it cannot be shown again",
        markup=False,
    )
    print(made.key)
