"""Callers of several kinds on one platform's identity."""

from __future__ import annotations

from services.identity.identity import Identity
from services.identity.require_scope import ALL_SCOPES
from services.identity.scopes import ROLES, Principal
from vila2.schemas.rest.identity import KeyIn, NewKey, TeamIn

PLATFORM = Principal("platform", "local", frozenset(ALL_SCOPES))


def admin_of(team: str, *, user: str = "") -> Principal:
    return Principal(f"{team}-admin"[:20], team, frozenset(ROLES["admin"]), user)


def with_team(identity: Identity, *teams: str) -> Identity:
    for team in teams:
        identity.teams.create(PLATFORM, TeamIn(name=team))
    return identity


def key_for(identity: Identity, team: str, **what: object) -> NewKey:
    body = KeyIn.model_validate({"role": "member", **what})
    return identity.keys.create(admin_of(team), team, body)
