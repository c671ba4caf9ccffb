"""REST models of teams, users, keys, limits and the audit log. Times are seconds since 1970."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from vila2.api.base import Body, Model

Role = Literal["viewer", "member", "admin"]
KeyState = Literal["active", "expired", "revoked"]
TeamName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,59}$")]
UserName = Annotated[str, Field(pattern=r"^[^\s/]{1,200}$")]
DAY = 24 * 3600.0


class TeamIn(Body):
    """A new team."""

    name: TeamName = Field(examples=["photos"])


class LimitsIn(Body):
    """What a team may use, set in whole; null is no limit."""

    requests_per_minute: int | None = Field(
        None, ge=1, le=2**31 - 1, description="Over all its keys; as many may come at once."
    )
    images_per_day: int | None = Field(
        None,
        ge=0,
        le=2**53,
        description="Captioned in a UTC day, by layers and by direct requests.",
    )
    storage_bytes: int | None = Field(None, ge=0, le=2**53, description="Of datasets and uploads.")


class Limits(LimitsIn):
    """A team's limits, and which key set them when."""

    set_by: str = ""
    set_at: float | None = None


class Member(Model):
    """A user's role in a team."""

    user: str
    role: Role


class MemberIn(Body):
    """The role that a user gets; the user is made if need be."""

    role: Role


class Team(Model):
    """A team, who is in it and what it may use."""

    name: str
    created_at: float
    members: list[Member]
    keys: int = Field(description="That are active.")
    limits: Limits


class User(Model):
    """A person and the teams that they are in."""

    name: str
    created_at: float
    roles: dict[str, Role] = Field(description="By team.")


class KeyIn(Body):
    """A new key: its scopes by name, those of a role, or a service's. A user's own needs none."""

    name: str = Field("", max_length=120, description="What it is for.")
    role: Role | None = None
    scopes: list[str] | None = Field(None, min_length=1)
    service: bool = Field(
        False, description="For the platform's own services: acts for every team."
    )
    user: str = Field(
        "", max_length=200, description="Whose own key it is: it ends with the membership."
    )
    expires_in_days: float | None = Field(None, gt=0, le=3660, description="Null: never.")


class RotateIn(Body):
    """How long the old key goes on beside the new one."""

    overlap_hours: float = Field(24.0, ge=0, le=24 * 90)


class Key(Model):
    """A key without its secret."""

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
    last_used_at: float | None = Field(description="To the minute; null: never.")
    replaced_by: str = ""


class NewKey(Key):
    """A key that was just made: the one time that its secret is shown."""

    key: str = Field(description="PREFIX.SECRET, to send as a bearer token.")


class Caller(Model):
    """Who a key is."""

    key: str
    team: str
    user: str
    scopes: list[str]


class AuditEntry(Model):
    """A request that changed something, or that was refused."""

    id: int
    at: float
    service: str
    method: str
    route: str
    path: str
    status: int
    key: str = Field(description="The key's public prefix; empty where there was none.")
    user: str
    team: str
    request_id: str


class AuditPage(Model):
    """Entries, the newest first."""

    entries: list[AuditEntry]
    next: str | None = Field(description="Give this as `cursor` for those before; null: the end.")
