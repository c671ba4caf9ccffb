"""REST models of teams, users, keys, limits and the audit log. Times are seconds since 1970."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from vila2.schemas.rest.base import Body, Model
from vila2.schemas.rest.examples import AT, example
from vila2.schemas.text import Seen

Role = Literal["viewer", "member", "admin"]
KeyState = Literal["active", "expired", "revoked"]
TeamName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]
UserName = Annotated[str, Field(pattern=r"^[^\s/]{1,200}$"), Seen]
DAY = 24 * 3600.0


class TeamIn(Body):
    """A new team."""

    model_config = example(name="photos")

    name: TeamName = Field(examples=["photos"])


_LIMITS: dict[str, Any] = {
    "requests_per_minute": 600,
    "images_per_day": 1_000_000,
    "storage_bytes": None,
}
_LIMITS_SET = {**_LIMITS, "set_by": "5d41402a", "set_at": AT}


class LimitsIn(Body):
    """The complete limits of a team; null means no limit."""

    model_config = example(**_LIMITS)

    requests_per_minute: int | None = Field(
        None,
        ge=1,
        le=2**31 - 1,
        description="Limit over all keys of the team; a burst of this size is allowed.",
    )
    images_per_day: int | None = Field(
        None,
        ge=0,
        le=2**53,
        description="Images captioned per UTC day, by layers and by direct requests.",
    )
    storage_bytes: int | None = Field(
        None, ge=0, le=2**53, description="Bytes of datasets and uploads."
    )


class Limits(LimitsIn):
    """A team's limits, and the key and time of the last change."""

    model_config = example(**_LIMITS_SET)

    set_by: str = ""
    set_at: float | None = None


class Member(Model):
    """A user's role in a team."""

    model_config = example(user="mira@example.org", role="member")

    user: str
    role: Role


class MemberIn(Body):
    """The role to give to a user, who is created if unknown."""

    model_config = example(role="member")

    role: Role


class Team(Model):
    """A team with its members and limits."""

    model_config = example(
        name="photos",
        created_at=AT,
        members=[{"user": "mira@example.org", "role": "member"}],
        keys=1,
        limits=_LIMITS_SET,
    )

    name: str
    created_at: float
    members: list[Member]
    keys: int = Field(description="Number of active keys.")
    limits: Limits


class User(Model):
    """A user and the teams they belong to."""

    model_config = example(name="mira@example.org", created_at=AT, roles={"photos": "member"})

    name: str
    created_at: float
    roles: dict[str, Role] = Field(description="Roles by team.")


class KeyIn(Body):
    """A key to create, with `scopes`, a `role` or `service`; default: the role of `user`."""

    model_config = example(name="nightly submissions", role="member", expires_in_days=90)

    name: str = Field("", max_length=120, description="Purpose of the key.")
    role: Role | None = None
    scopes: list[str] | None = Field(None, min_length=1)
    service: bool = Field(
        False, description="Key for the platform's own services, valid for every team."
    )
    user: str = Field(
        "",
        max_length=200,
        description="Owner of a personal key, which ends with the owner's membership.",
    )
    expires_in_days: float | None = Field(
        None, gt=0, le=3660, description="Null: the key does not expire."
    )


class RotateIn(Body):
    """The time for which the old key stays valid along with the new one."""

    model_config = example(overlap_hours=24)

    overlap_hours: float = Field(24.0, ge=0, le=24 * 90)


_KEY: dict[str, Any] = {
    "prefix": "a87ff679",
    "team": "photos",
    "user": "mira@example.org",
    "name": "nightly submissions",
    "scopes": ["datasets:read", "datasets:write"],
    "state": "active",
    "created_at": AT,
    "created_by": "5d41402a",
    "expires_at": None,
    "revoked_at": None,
    "last_used_at": AT,
}


class Key(Model):
    """A key without its secret."""

    model_config = example(**_KEY)

    prefix: str
    team: str
    user: str
    name: str
    scopes: list[str]
    state: KeyState
    created_at: float
    created_by: str
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None = Field(description="Accurate to a minute; null: never used.")
    replaced_by: str = ""


class NewKey(Key):
    """A new key with its secret, which is shown only once."""

    model_config = example(**_KEY, key="a87ff679.SECRET")

    key: str = Field(description="PREFIX.SECRET; send it as a bearer token.")


class Caller(Model):
    """The team, user and scopes of a key."""

    model_config = example(
        key="a87ff679",
        team="photos",
        user="mira@example.org",
        scopes=["datasets:read", "datasets:write"],
    )

    key: str
    team: str
    user: str
    scopes: list[str]


class AuditEntry(Model):
    """A request that changed something or was refused."""

    id: int
    at: float
    service: str
    method: str
    route: str
    path: str
    status: int
    key: str = Field(description="The key's public prefix; empty if there was no key.")
    user: str
    team: str
    request_id: str


class AuditPage(Model):
    """A page of entries, newest first."""

    model_config = example(
        entries=[
            {
                "id": 42,
                "at": AT,
                "service": "datasets",
                "method": "POST",
                "route": "/v1/datasets",
                "path": "/v1/datasets",
                "status": 201,
                "key": "a87ff679",
                "user": "mira@example.org",
                "team": "photos",
                "request_id": "8f14e45fceea467a9c1d0f2b6a7d3e55",
            }
        ],
        next=None,
    )

    entries: list[AuditEntry]
    next: str | None = Field(
        description="Pass this as `cursor` for older entries; null at the end."
    )
