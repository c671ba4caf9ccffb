"""`vila2 teams`: who works together, in which role, and what they may use."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from vila2.api.identity import LimitsIn, Role, Team
from vila2.cli import terminal
from vila2.cli.terminal import moment
from vila2.cli.workspace import DEFAULT_WORKSPACE, Key, Url, Workspace, connected
from vila2.client import Client

app = typer.Typer(no_args_is_help=True, help="Teams, their members, and what they may use.")
console = terminal.console()
Name = Annotated[str, typer.Argument(help="The team; by default that of the key.")]
Team_ = Annotated[str, typer.Argument(help="The team.")]
User = Annotated[str, typer.Argument(help="The user, as the sign-in service names them.")]


@app.command("list")
def list_teams(workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "") -> None:
    """The key's team; with a key of the platform's admin, all teams."""
    table = Table("team", "members", "active keys", "requests/minute", "images/day", "storage")
    with connected(workspace, url, key) as client:
        for team in client.identity.teams():
            limits = team.limits
            table.add_row(
                team.name, str(len(team.members)), str(team.keys),
                _limit(limits.requests_per_minute), _limit(limits.images_per_day),
                _limit(limits.storage_bytes),
            )  # fmt: skip
    console.print(table)


@app.command("create")
def create(
    team: Team_, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """Make a team; needs platform:admin. Then `vila2 keys create --team NAME --role admin`."""
    with connected(workspace, url, key) as client:
        console.print(f"team {client.identity.create_team(team).name}")


@app.command("show")
def show(
    team: Name = "", workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """A team's members, its limits, and what it has used of them."""
    with connected(workspace, url, key) as client:
        own = client.identity.whoami().team
        found = client.identity.team(team or own)
        console.print(f"[bold]{found.name}[/], since {moment(found.created_at)}")
        members = Table("member", "role")
        for member in found.members:
            members.add_row(member.user, member.role)
        console.print(members)
        _print_used(client, found, own=found.name == own)


@app.command("limits")
def limits(
    team: Team_,
    requests_per_minute: Annotated[int | None, typer.Option(help="Over all its keys.")] = None,
    images_per_day: Annotated[int | None, typer.Option(help="Captioned in a UTC day.")] = None,
    storage_bytes: Annotated[int | None, typer.Option(help="Of datasets and uploads.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Set a team's limits, in whole: what is left out is not limited. Needs quotas:write.

    GPU-hours are limited by `vila2 jobs quota`.
    """
    body = LimitsIn(
        requests_per_minute=requests_per_minute,
        images_per_day=images_per_day,
        storage_bytes=storage_bytes,
    )
    with connected(workspace, url, key) as client:
        console.print(client.identity.set_limits(team, body).model_dump_json(indent=1))


@app.command("add")
def add(
    team: Team_,
    user: User,
    role: Annotated[Role, typer.Option(help="What they may do.")] = "member",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Give a user a role in a team, in place of the one before."""
    with connected(workspace, url, key) as client:
        made = client.identity.put_member(team, user, role)
        console.print(f"{made.user} is {made.role} of {team}", markup=False)


@app.command("remove")
def remove(
    team: Team_, user: User, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """Take a user out of a team; their own keys of the team can do nothing from then on."""
    with connected(workspace, url, key) as client:
        client.identity.remove_member(team, user)
        console.print(f"{user} has left {team}", markup=False)


def _print_used(client: Client, team: Team, *, own: bool) -> None:
    """What is used of each limit, asked of the service that counts it."""
    table = Table("what", "used", "limit", "until")
    table.add_row("requests", "", _limit(team.limits.requests_per_minute), "each minute")
    images = client.caption.quota("" if own else team.name)
    table.add_row(
        "images", f"{images.images_today:,}", _limit(images.images_per_day),
        moment(images.resets_at),
    )  # fmt: skip
    storage = client.datasets.quota("" if own else team.name)
    table.add_row(
        "storage (bytes)", f"{storage.storage_bytes_used:,}", _limit(storage.storage_bytes), ""
    )
    hours = client.training.quota("" if own else team.name)
    for name, used, most in (
        ("GPU-hours", hours.gpu_hours_used, hours.gpu_hours),
        ("process-hours", hours.process_hours_used, hours.process_hours),
    ):
        table.add_row(name, f"{used:.2f}", _limit(most), hours.window)
    console.print(table)


def _limit(most: float | None) -> str:
    return "none" if most is None else f"{most:,}"
