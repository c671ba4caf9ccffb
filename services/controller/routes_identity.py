"""Routes for teams, users and keys: served by the controller for all services."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from services.chassis.web.paging import Paged
from services.identity.identity import Identity
from services.identity.require import PLATFORM_ADMIN, Principal, identity_of, require
from vila2.schemas.rest import identity as api

router = APIRouter(prefix="/v1")
Who = Annotated[Principal, Depends(require("identity:read"))]
Manager = Annotated[Principal, Depends(require("identity:write"))]
LimitSetter = Annotated[Principal, Depends(require("quotas:write"))]
Admin = Annotated[Principal, Depends(require(PLATFORM_ADMIN))]
Held = Annotated[Identity, Depends(identity_of)]


def _secret(response: Response) -> None:
    """Mark a reply that holds a secret as not cacheable."""
    response.headers["Cache-Control"] = "no-store"


Secret = Depends(_secret)
UserName = Annotated[str, Path(pattern=r"^[^\s/]{1,200}$")]


@router.get("/whoami", summary="Who a key is")
def get_caller(caller: Who) -> api.Caller:
    """The team, the user and the scopes of the key that asks."""
    return api.Caller(
        key=caller.key, team=caller.team, user=caller.user, scopes=sorted(caller.scopes)
    )


@router.post("/teams", summary="Make a team", status_code=201)
def create_team(body: api.TeamIn, caller: Admin, held: Held) -> api.Team:
    """For the platform's admin; its first key, with the role admin, lets the team do the rest."""
    return held.teams.create(caller, body)


@router.get("/teams", summary="List teams")
def list_teams(caller: Who, held: Held, page: Paged) -> list[api.Team]:
    """The caller's own team; for the platform's admin, all."""
    return held.teams.all(caller, page)


@router.get("/teams/{team}", summary="A team")
def get_team(team: str, caller: Who, held: Held) -> api.Team:
    """Its members, limits, and how many keys it has."""
    return held.teams.get(caller, team)


@router.put("/teams/{team}/limits", summary="Set a team's limits")
def set_limits(team: str, body: api.LimitsIn, caller: LimitSetter, held: Held) -> api.Limits:
    """Requests a minute, images a day and storage, in whole; GPU-hours are the training's quota."""
    return held.teams.set_limits(caller, team, body)


@router.put("/teams/{team}/members/{user}", summary="Give a user a role")
def put_member(
    team: str, user: UserName, body: api.MemberIn, caller: Manager, held: Held
) -> api.Member:
    """In place of the role before; a user who is not known yet is made."""
    return held.teams.put_member(caller, team, user, body)


@router.delete("/teams/{team}/members/{user}", summary="Take a user out", status_code=204)
def remove_member(team: str, user: UserName, caller: Manager, held: Held) -> None:
    """Their own keys of this team can do nothing from then on."""
    held.teams.remove_member(caller, team, user)


@router.get("/users", summary="List users")
def list_users(caller: Admin, held: Held, page: Paged) -> list[api.User]:
    """Everybody, and their roles by team."""
    return held.teams.users(page)


@router.post("/teams/{team}/keys", summary="Make a key", status_code=201, dependencies=[Secret])
def create_key(team: str, body: api.KeyIn, caller: Manager, held: Held) -> api.NewKey:
    """The one reply that shows the secret; it cannot hold a scope that the caller lacks."""
    return held.keys.create(caller, team, body)


@router.get("/teams/{team}/keys", summary="List keys")
def list_keys(team: str, caller: Who, held: Held, page: Paged) -> list[api.Key]:
    """Every key that the team has or had, the newest first, without its secret."""
    return held.keys.of_team(caller, team, page)


@router.post(
    "/teams/{team}/keys/{prefix}/rotate",
    summary="Rotate a key",
    status_code=201,
    dependencies=[Secret],
)
def rotate_key(
    team: str, prefix: str, body: api.RotateIn, caller: Manager, held: Held
) -> api.NewKey:
    """A new key for the same purpose; the old one goes on for the overlap, then ends."""
    return held.keys.rotate(caller, team, prefix, body)


@router.delete("/teams/{team}/keys/{prefix}", summary="Revoke a key")
def revoke_key(team: str, prefix: str, caller: Manager, held: Held) -> api.Key:
    """It stops within seconds in every process; its row stays, for the audit log."""
    return held.keys.revoke(caller, team, prefix)
