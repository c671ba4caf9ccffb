"""Routes for teams, users and keys: served by the controller for all services."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Response

from services.chassis.web.paging import Paged
from services.identity.identity import Identity
from services.identity.require_scope import PLATFORM_ADMIN, Principal, identity_of, require
from vila2.schemas.rest import identity as api
from vila2.schemas.text import Seen

router = APIRouter(prefix="/v1")
Who = Annotated[Principal, Depends(require("identity:read"))]
Manager = Annotated[Principal, Depends(require("identity:write"))]
LimitSetter = Annotated[Principal, Depends(require("quotas:write"))]
Admin = Annotated[Principal, Depends(require(PLATFORM_ADMIN))]
Held = Annotated[Identity, Depends(identity_of)]


def _secret(response: Response) -> None:
    """Mark a response that contains a secret as not cacheable."""
    response.headers["Cache-Control"] = "no-store"


Secret = Depends(_secret)
UserName = Annotated[str, Path(pattern=r"^[^\s/]{1,200}$"), Seen]


@router.get("/whoami", summary="Get the caller")
def get_caller(caller: Who) -> api.Caller:
    """The team, user and scopes of the key used for this request."""
    return api.Caller(
        key=caller.key, team=caller.team, user=caller.user, scopes=sorted(caller.scopes)
    )


@router.post("/teams", summary="Create a team", status_code=201)
def create_team(body: api.TeamIn, caller: Admin, held: Held) -> api.Team:
    """Create a team. Requires the platform's admin, who then creates the team's first admin key."""
    return held.teams.create(caller, body)


@router.get("/teams", summary="List teams")
def list_teams(caller: Who, held: Held, page: Paged) -> list[api.Team]:
    """The caller's own team, or all teams for the platform's admin."""
    return held.teams.all(caller, page)


@router.get("/teams/{team}", summary="Get a team")
def get_team(team: str, caller: Who, held: Held) -> api.Team:
    """The team's members, limits and number of active keys."""
    return held.teams.get(caller, team)


@router.put("/teams/{team}/limits", summary="Set a team's limits")
def set_limits(team: str, body: api.LimitsIn, caller: LimitSetter, held: Held) -> api.Limits:
    """Replace the limits on requests, images and storage. GPU-hours are a training quota."""
    return held.teams.set_limits(caller, team, body)


@router.put("/teams/{team}/members/{user}", summary="Set a member's role")
def put_member(
    team: str, user: UserName, body: api.MemberIn, caller: Manager, held: Held
) -> api.Member:
    """Replace the user's role in the team. An unknown user is created."""
    return held.teams.put_member(caller, team, user, body)


@router.delete("/teams/{team}/members/{user}", summary="Remove a member", status_code=204)
def remove_member(team: str, user: UserName, caller: Manager, held: Held) -> None:
    """Remove a user from the team. The user's own keys of this team stop working."""
    held.teams.remove_member(caller, team, user)


@router.get("/users", summary="List users")
def list_users(caller: Admin, held: Held, page: Paged) -> list[api.User]:
    """All users with their roles by team. Requires the platform's admin."""
    return held.teams.users(page)


@router.post("/teams/{team}/keys", summary="Create a key", status_code=201, dependencies=[Secret])
def create_key(team: str, body: api.KeyIn, caller: Manager, held: Held) -> api.NewKey:
    """Create a key, whose secret is shown only once. Its scopes must be among the caller's."""
    return held.keys.create(caller, team, body)


@router.get("/teams/{team}/keys", summary="List keys")
def list_keys(team: str, caller: Who, held: Held, page: Paged) -> list[api.Key]:
    """The team's current and former keys without their secrets, newest first."""
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
    """Create a replacement key. The old key expires after the overlap."""
    return held.keys.rotate(caller, team, prefix, body)


@router.delete("/teams/{team}/keys/{prefix}", summary="Revoke a key")
def revoke_key(team: str, prefix: str, caller: Manager, held: Held) -> api.Key:
    """Revoke a key. It stops working within seconds; its record is kept for the audit log."""
    return held.keys.revoke(caller, team, prefix)
