"""`vila2 teams|keys|audit`: teams, their limits and keys, and the audit log."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

import typer
from pydantic import BaseModel
from rich.console import RenderableType

from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.client import Client
from vila2.schemas.rest.caption import ImageQuota
from vila2.schemas.rest.datasets import StorageQuota
from vila2.schemas.rest.identity import KeyIn, LimitsIn, NewKey, Role, Team
from vila2.schemas.rest.training import Quota, QuotaIn, Usage
from vila2.system.terminal import bold, errors, moment, number, say, sentence, stack, table

B = TypeVar("B", bound=BaseModel)
teams = Group("Teams, their members, and what they may use.")
keys = Group("API keys: PREFIX.SECRET, each with its scopes.")

Name = Annotated[str, typer.Argument(help="The team; default: the key's team.")]
TeamName = Annotated[str, typer.Argument(help="The team.")]
User = Annotated[str, typer.Argument(help="The user's name at the identity provider.")]
Prefix = Annotated[
    str, typer.Argument(help="The part of the key before the dot: see `vila2 keys list`.")
]
OfTeam = Annotated[str, typer.Option("--team", help="Team of the key; default: your own team.")]
Since = Annotated[
    datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only from this day on (UTC).")
]


@teams.command("list")
def list_teams(session: Session) -> None:
    """List the key's team; with a platform admin's key, all teams."""
    with session.client() as client:
        found = client.identity.teams()
        columns = map(
            number, ("members", "active keys", "requests/minute", "images/day", "storage")
        )
        session.show(found, lambda: table("team", *columns, rows=[
            (
                team.name, str(len(team.members)), str(team.keys),
                _limit(team.limits.requests_per_minute), _limit(team.limits.images_per_day),
                _limit(team.limits.storage_bytes),
            )
            for team in found
        ]))  # fmt: skip


@teams.command("create")
def create_team(session: Session, team: TeamName) -> None:
    """Create a team; needs platform:admin. Then `vila2 keys create --team NAME --role admin`."""
    with session.client() as client:
        made = client.identity.create_team(team)
        session.show(made, lambda: f"team {made.name}")


@teams.command("show")
def show_team(
    session: Session,
    team: Name = "",
    by_run: Annotated[
        bool,
        typer.Option(
            "--by-run", help="Show GPU-hours and process-hours of each of its runs instead."
        ),
    ] = False,
    since: Since = None,
) -> None:
    """Show a team's members, limits and usage, or the usage of each of its runs."""
    with session.client() as client:
        own = client.identity.whoami().team
        if not by_run:
            found = client.identity.team(team or own)
            other = "" if found.name == own else found.name
            session.show(found, lambda: _team_shown(client, found, other))
        elif team not in ("", own):
            raise CliError(f"--by-run is of the key's own team, {own}")
        else:
            used = client.training.usage("run", since=_seconds(since) or 0.0)
            session.show(used, lambda: _usage(used))


@teams.command("limits")
def limits(
    session: Session,
    team: TeamName,
    requests_per_minute: Annotated[
        str, typer.Option(help="Requests per minute, over all the team's keys.")
    ] = "",
    images_per_day: Annotated[str, typer.Option(help="Images captioned per UTC day.")] = "",
    storage_bytes: Annotated[str, typer.Option(help="Bytes of datasets and uploads.")] = "",
    gpu_hours: Annotated[str, typer.Option(help="GPU-hours of its jobs.")] = "",
    process_hours: Annotated[str, typer.Option(help="Process-hours of jobs without a GPU.")] = "",
    max_jobs: Annotated[str, typer.Option(help="Maximum number of jobs at once.")] = "",
    window: Annotated[
        Literal["month", "30d"] | None,
        typer.Option(
            help="Period in which hours are counted: the calendar month, or the last 30 days."
        ),
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Weight of the team when several teams wait for a slot.")
    ] = None,
) -> None:
    """Set a team's limits: a number, or `none`. Other limits are kept. Needs quotas:write."""
    limits = LimitsIn(
        **_numbers(
            requests_per_minute=requests_per_minute, images_per_day=images_per_day,
            storage_bytes=storage_bytes,
        )
    )  # fmt: skip
    hours = _numbers(gpu_hours=gpu_hours, process_hours=process_hours, max_jobs=max_jobs)
    for name, given in (("window", window), ("share", share)):
        hours |= {} if given is None else {name: given}
    quota = QuotaIn(**hours)
    with session.client() as client:
        if limits.model_fields_set:
            held = client.identity.team(team).limits
            client.identity.set_limits(team, _changed(held, limits))
        if quota.model_fields_set:
            client.training.set_quota(team, _changed(client.training.quota(team), quota))
        found = client.identity.team(team)
        other = "" if client.identity.whoami().team == team else team
        session.show(found, lambda: _team_shown(client, found, other))


@teams.command("add")
def add(
    session: Session,
    team: TeamName,
    user: User,
    role: Annotated[Role, typer.Option(help="Role of the user in the team.")] = "member",
) -> None:
    """Give a user a role in a team, replacing any previous role."""
    with session.client() as client:
        made = client.identity.put_member(team, user, role)
        session.show(made, lambda: f"{made.user} is {made.role} of {team}")


@teams.command("remove", prints_json=False)
def remove(session: Session, team: TeamName, user: User) -> None:
    """Remove a user from a team; the user's own keys of the team stop working."""
    with session.client() as client:
        client.identity.remove_member(team, user)
        say(f"{user} has left {team}")


@keys.command("create")
def create_key(
    session: Session,
    name: Annotated[str, typer.Option(help="Purpose of the key.")] = "",
    team: OfTeam = "",
    role: Annotated[Role | None, typer.Option(help="Give the key the scopes of this role.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="A scope to give the key; may be repeated.")
    ] = None,
    service: Annotated[
        bool, typer.Option(help="Create a key for the services (VILA2_SERVICE_KEY).")
    ] = False,
    user: Annotated[
        str,
        typer.Option(help="User who owns the key; it stops working when the user leaves the team."),
    ] = "",
    days: Annotated[
        float | None, typer.Option(help="Days until it expires; default: never.")
    ] = None,
) -> None:
    """Create a key and print it once; it cannot be shown again. Needs identity:write.

    A key cannot have a scope that the key creating it lacks.
    """
    body = KeyIn(
        name=name, role=role, scopes=scope or None, service=service, user=user,
        expires_in_days=days,
    )  # fmt: skip
    with session.client() as client:
        _show_new(session, client.identity.create_key(team or _own(client), body))


@keys.command("list")
def list_keys(
    session: Session,
    team: OfTeam = "",
    ended: Annotated[
        bool, typer.Option("--all", help="Also list expired and revoked keys.")
    ] = False,
) -> None:
    """List a team's keys, newest first; keys that have ended are counted."""
    with session.client() as client:
        found = client.identity.keys(team or _own(client))
    shown = [held for held in found if ended or held.state == "active"]
    rows = [
        (
            held.prefix, held.name, held.user, held.state, " ".join(held.scopes),
            moment(held.created_at), moment(held.expires_at), moment(held.last_used_at),
        )
        for held in shown
    ]  # fmt: skip
    columns = ("prefix", "name", "user", "state", "scopes", "made (UTC)", "expires", "last used")
    session.show(shown, lambda: table(*columns, rows=rows))
    if len(shown) < len(found) and not session.json:
        say(f"{len(found) - len(shown)} more have ended: --all shows them")


@keys.command("rotate")
def rotate(
    session: Session,
    prefix: Prefix,
    overlap_hours: Annotated[
        float, typer.Option(help="Hours for which the old key stays valid.")
    ] = 24.0,
    team: OfTeam = "",
) -> None:
    """Replace a key and print the new one once; the old key ends after the overlap."""
    with session.client() as client:
        of = team or _own(client)
        _show_new(session, client.identity.rotate_key(of, prefix, overlap_hours=overlap_hours))


@keys.command("revoke")
def revoke(session: Session, prefix: Prefix, team: OfTeam = "") -> None:
    """Revoke a key: within seconds no service accepts it."""
    with session.client() as client:
        held = client.identity.revoke_key(team or _own(client), prefix)
        session.show(held, lambda: f"{held.prefix} {held.name}: {held.state}")


def audit(
    session: Session,
    team: Annotated[
        str, typer.Option(help="Only of this team; a platform admin sees all teams.")
    ] = "",
    by: Annotated[str, typer.Option(help="Only of this key, by its prefix.")] = "",
    user: Annotated[str, typer.Option(help="Only of this user.")] = "",
    service: Annotated[str, typer.Option(help="Only of this service.")] = "",
    status: Annotated[int | None, typer.Option(help="Only with this status, such as 403.")] = None,
    path: Annotated[
        str, typer.Option(help="Only paths that contain this, such as a run's id.")
    ] = "",
    since: Since = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 50,
) -> None:
    """List requests that changed something and requests that were refused, newest first."""
    with session.client() as client:
        found = list(client.identity.audit(
            limit=limit, team=team, key=by, user=user, service=service, status=status, path=path,
            since=_seconds(since),
        ))  # fmt: skip
    columns = ("when (UTC)", "status", "request, and its id", "key", "user", "team")
    session.show(found, lambda: table(*columns, rows=[
        (
            moment(entry.at), str(entry.status),
            f"{entry.service}: {entry.method} {entry.path}\n{entry.request_id}",
            entry.key, entry.user, entry.team,
        )
        for entry in found
    ]))  # fmt: skip


def _seconds(day: datetime | None) -> float | None:
    return day.replace(tzinfo=UTC).timestamp() if day else None


def _usage(found: list[Usage]) -> RenderableType:
    """Usage by run, including all attempts; jobs without a run are summed in one line."""
    columns = map(number, ("GPU-hours", "process-hours", "jobs", "attempts"))
    rows = [
        (
            used.run or "(no run)", f"{used.gpu_hours:.2f}", f"{used.process_hours:.2f}",
            str(used.jobs), str(used.attempts),
        )
        for used in found
    ]  # fmt: skip
    return table("run", *columns, rows=rows)


def _own(client: Client) -> str:
    """The key's team."""
    return client.identity.whoami().team


def _show_new(session: Session, made: NewKey) -> None:
    """The key on a line of its own, so that a script can read it."""
    expires = f", until {moment(made.expires_at)} UTC" if made.expires_at else ""
    errors().print(
        f"{made.prefix} of team {made.team}: {' '.join(made.scopes)}{expires}\n"
        "keep it: it cannot be shown again"
    )
    session.show(made, lambda: made.key)


def _numbers(**typed: str) -> dict[str, Any]:
    """Limits as given: a number, or `None` for `none`."""
    found: dict[str, Any] = {}
    for name, text in typed.items():
        if not text:
            continue
        try:
            found[name] = None if text == "none" else float(text)
        except ValueError as error:
            option = name.replace("_", "-")
            raise CliError(f"--{option} {text!r}: give a number, or none") from error
    return found


def _changed(held: BaseModel, given: B) -> B:
    """The stored limits, updated with the given ones."""
    kept = held.model_dump(include=set(type(given).model_fields))
    return type(given)(**{**kept, **given.model_dump(exclude_unset=True)})


def _team_shown(client: Client, team: Team, other: str) -> RenderableType:
    """Members, and usage of each limit as reported by the service that counts it."""
    head = sentence(bold(team.name), f", since {moment(team.created_at)}")
    members = table("member", "role", rows=[(held.user, held.role) for held in team.members])
    used = _used(
        team, client.caption.quota(other), client.datasets.quota(other),
        client.training.quota(other),
    )  # fmt: skip
    return stack(head, members, used)


def _used(team: Team, images: ImageQuota, storage: StorageQuota, hours: Quota) -> RenderableType:
    rows = [
        ("requests", "", _limit(team.limits.requests_per_minute), "each minute"),
        (
            "images", f"{images.images_today:,}", _limit(images.images_per_day),
            f"until {moment(images.resets_at)}",
        ),
        ("storage (bytes)", f"{storage.storage_bytes_used:,}", _limit(storage.storage_bytes), ""),
        ("GPU-hours", f"{hours.gpu_hours_used:.2f}", _limit(hours.gpu_hours), hours.window),
        (
            "process-hours", f"{hours.process_hours_used:.2f}", _limit(hours.process_hours),
            hours.window,
        ),
        ("jobs at once", str(hours.running), _limit(hours.max_jobs), ""),
    ]  # fmt: skip
    return table("what", number("used"), number("limit"), "window", rows=rows)


def _limit(most: float | None) -> str:
    return "none" if most is None else f"{most:,}"
