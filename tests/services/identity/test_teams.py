"""Teams, their members, and what a user's own key may do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chassis.web.errors import Conflict, NotFound
from services.identity.identity import Identity
from services.identity.require_scope import ALL_SCOPES
from services.identity.scopes import (
    ACT_AS,
    PLATFORM_ADMIN,
    ROLES,
    Principal,
    effective,
    not_grantable,
)
from tests.support.identity.principals import PLATFORM, admin_of, with_team
from vila2.schemas.rest.identity import KeyIn, LimitsIn, MemberIn, TeamIn

SCOPES = st.sets(st.sampled_from([*ALL_SCOPES, ACT_AS]))


def users_key(identity: Identity, user: str, role: str) -> str:
    admin = admin_of("red")
    identity.teams.put_member(admin, "red", user, MemberIn.model_validate({"role": role}))
    return identity.keys.create(admin, "red", KeyIn(user=user)).key


def test_a_users_own_key_has_the_scopes_of_their_role(identity: Identity) -> None:
    with_team(identity, "red")
    for role in ROLES:
        principal = identity.principal(users_key(identity, f"{role}@example.org", role))
        assert (principal.user, principal.scopes) == (f"{role}@example.org", set(ROLES[role]))


def test_who_becomes_a_viewer_reads_with_the_key_that_they_have(identity: Identity) -> None:
    """No key has to be found and replaced."""
    key = users_key(with_team(identity, "red"), "ada", "admin")
    identity.principal(key)
    identity.teams.put_member(admin_of("red"), "red", "ada", MemberIn(role="viewer"))
    assert identity.principal(key).scopes == set(ROLES["viewer"])


def test_who_leaves_a_team_can_do_nothing_with_their_keys_of_it(identity: Identity) -> None:
    key = users_key(with_team(identity, "red"), "ada", "member")
    identity.teams.remove_member(admin_of("red"), "red", "ada")
    assert identity.principal(key).scopes == frozenset()


@given(SCOPES, st.sampled_from([None, *ROLES]))
def test_a_role_never_adds_to_what_a_key_holds(scopes: set[str], role: str | None) -> None:
    allowed = effective(scopes, owned=True, role=role)
    assert allowed <= scopes
    assert allowed <= set(ROLES.get(role or "", ()))


@given(SCOPES, SCOPES)
def test_only_the_platforms_admin_gives_more_than_they_hold(
    asked: set[str], held: set[str]
) -> None:
    caller = Principal("k", "red", frozenset(held))
    beyond = set(not_grantable(asked, caller))
    assert beyond == (set() if PLATFORM_ADMIN in held else asked - held)


def test_a_role_holds_all_of_the_one_below() -> None:
    """And none of them is the platform's."""
    viewer, member, admin = (set(ROLES[role]) for role in ("viewer", "member", "admin"))
    assert viewer < member < admin
    assert not admin & {"quotas:read", "quotas:write", PLATFORM_ADMIN, ACT_AS}


def test_a_team_sees_itself_and_the_platforms_admin_sees_all(identity: Identity) -> None:
    with_team(identity, "red", "blue")
    assert [team.name for team in identity.teams.all(admin_of("red"))] == ["red"]
    assert [team.name for team in identity.teams.all(PLATFORM)] == ["blue", "red"]
    with pytest.raises(NotFound):
        identity.teams.get(admin_of("red"), "blue")
    with pytest.raises(NotFound):
        identity.teams.put_member(admin_of("red"), "blue", "ada", MemberIn(role="admin"))


def test_a_name_is_given_once(identity: Identity) -> None:
    with_team(identity, "red")
    with pytest.raises(Conflict, match="there is a team red"):
        identity.teams.create(PLATFORM, TeamIn(name="red"))


def test_limits_are_set_in_whole(identity: Identity) -> None:
    """What is left out is no longer limited; who set it is kept."""
    with_team(identity, "red")
    identity.teams.set_limits(PLATFORM, "red", LimitsIn(images_per_day=5, storage_bytes=7))
    assert identity.directory.limits("red").images_per_day == 5
    identity.teams.set_limits(PLATFORM, "red", LimitsIn(requests_per_minute=3))
    limits = identity.directory.limits("red")
    assert (limits.images_per_day, limits.requests_per_minute) == (None, 3)
    assert limits.set_by == PLATFORM.key


def test_users_are_listed_with_their_teams(identity: Identity) -> None:
    with_team(identity, "red", "blue")
    for team, role in (("red", "viewer"), ("blue", "admin")):
        body = MemberIn.model_validate({"role": role})
        identity.teams.put_member(PLATFORM, team, "ada", body)
    (ada,) = identity.teams.users()
    assert ada.roles == {"red": "viewer", "blue": "admin"}
