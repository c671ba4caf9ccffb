"""A key's life: made, used, rotated, expired, revoked."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from services.chassis.web.errors import Conflict, Forbidden, Invalid, NotFound, Unauthenticated
from services.identity import directory
from services.identity.directory import HeldKey, ended
from services.identity.identity import Identity
from services.identity.require_scope import ACT_AS, ALL_SCOPES, TEAM_SCOPES
from services.platform.embedded import EmbeddedPlatform
from tests.support.identity.identities import open_identity
from tests.support.identity.principals import PLATFORM, admin_of, key_for, with_team
from vila2.schemas.rest.identity import KeyIn, RotateIn


def held(*, expires_at: float | None = None, revoked_at: float | None = None) -> HeldKey:
    return HeldKey("p", "", "", "red", "", (), None, expires_at, revoked_at, 0.0)


def test_a_made_key_is_shown_once_and_listed_without_its_secret(identity: Identity) -> None:
    made = key_for(with_team(identity, "red"), "red", name="for the robot")
    assert identity.principal(made.key).scopes >= set(TEAM_SCOPES)
    (listed,) = identity.keys.of_team(admin_of("red"), "red")
    assert (listed.prefix, listed.name, listed.state) == (made.prefix, "for the robot", "active")
    assert made.key.partition(".")[2] not in listed.model_dump_json()


def test_a_reply_with_a_secret_is_kept_by_nobody_on_its_way(platform: EmbeddedPlatform) -> None:
    """No proxy's cache, and no store of replies, has a key in it."""
    send = platform.client.identity.send
    made = send("POST", "teams/local/keys", json={"role": "viewer"})
    path = f"teams/local/keys/{made.json()['prefix']}/rotate"
    for reply in (made, send("POST", path, json={})):
        assert reply.headers["cache-control"] == "no-store"


def test_a_revoked_key_stops_at_once_and_says_why(identity: Identity) -> None:
    """It was looked up a moment before, so what was remembered of it must be dropped."""
    made = key_for(with_team(identity, "red"), "red")
    identity.principal(made.key)
    identity.keys.revoke(admin_of("red"), "red", made.prefix)
    with pytest.raises(Unauthenticated, match="was revoked at"):
        identity.principal(made.key)


def test_in_another_process_a_revoked_key_stops_when_what_was_remembered_is_old(
    identity: Identity, database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The documented seconds, made shorter."""
    monkeypatch.setattr(directory, "FRESH_SECONDS", 0.2)
    made = key_for(with_team(identity, "red"), "red")
    other = open_identity(tmp_path, database_url)
    other.principal(made.key)
    identity.keys.revoke(admin_of("red"), "red", made.prefix)
    assert other.principal(made.key).team == "red"
    time.sleep(0.25)
    with pytest.raises(Unauthenticated):
        other.principal(made.key)
    other.close()


def test_a_key_ends_when_it_expires() -> None:
    """To the second, though what was looked up is remembered."""
    assert ended(held(expires_at=100.0), 99.9) == ""
    assert ended(held(expires_at=100.0), 100.0) == "expired at 1970-01-01 00:01 UTC"
    assert ended(held(expires_at=200.0, revoked_at=50.0), 60.0).startswith("was revoked")


def test_who_does_not_have_the_secret_is_not_told_that_a_key_expired(identity: Identity) -> None:
    """Else prefixes could be tried out."""
    made = key_for(with_team(identity, "red"), "red")
    identity.keys.revoke(admin_of("red"), "red", made.prefix)
    with pytest.raises(Unauthenticated, match="unknown key"):
        identity.principal(f"{made.prefix}.guess")


def test_a_rotated_key_goes_on_beside_the_new_one_for_the_overlap(identity: Identity) -> None:
    old = key_for(with_team(identity, "red"), "red", name="robot")
    new = identity.keys.rotate(admin_of("red"), "red", old.prefix, RotateIn(overlap_hours=1))
    assert identity.principal(old.key).scopes == identity.principal(new.key).scopes
    listed = {key.prefix: key for key in identity.keys.of_team(admin_of("red"), "red")}
    assert listed[old.prefix].replaced_by == new.prefix
    assert listed[old.prefix].expires_at == pytest.approx(time.time() + 3600, abs=60)
    assert (listed[new.prefix].name, listed[new.prefix].expires_at) == ("robot", None)


def test_without_an_overlap_the_rotated_key_ends_at_once(identity: Identity) -> None:
    old = key_for(with_team(identity, "red"), "red")
    identity.keys.rotate(admin_of("red"), "red", old.prefix, RotateIn(overlap_hours=0))
    with pytest.raises(Unauthenticated, match="expired"):
        identity.principal(old.key)


def test_rotating_keeps_how_long_a_key_lives(identity: Identity) -> None:
    """A key for thirty days is replaced by one for thirty days, not for ever."""
    old = key_for(with_team(identity, "red"), "red", expires_in_days=30)
    new = identity.keys.rotate(admin_of("red"), "red", old.prefix, RotateIn())
    assert new.expires_at == pytest.approx(time.time() + 30 * 86400, abs=60)


def test_a_key_is_rotated_once(identity: Identity) -> None:
    """Who asks again is told which key replaces it."""
    old = key_for(with_team(identity, "red"), "red")
    new = identity.keys.rotate(admin_of("red"), "red", old.prefix, RotateIn())
    with pytest.raises(Conflict, match=new.prefix):
        identity.keys.rotate(admin_of("red"), "red", old.prefix, RotateIn())


def test_use_is_written_down_at_most_once_a_minute(
    identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = key_for(with_team(identity, "red"), "red")

    def last_used() -> float | None:
        return identity.keys.of_team(admin_of("red"), "red")[0].last_used_at

    assert last_used() is None
    identity.principal(made.key)
    first = last_used()
    assert first == pytest.approx(time.time(), abs=10)
    identity.principal(made.key)
    assert last_used() == first
    monkeypatch.setattr(directory, "USED_SECONDS", 0.0)
    time.sleep(0.01)
    identity.principal(made.key)
    assert last_used() > first  # type: ignore[operator]


@pytest.mark.parametrize("scopes", [["quotas:write"], ["platform:admin"], [ACT_AS]])
def test_nobody_gives_a_scope_that_they_do_not_hold(identity: Identity, scopes: list[str]) -> None:
    """A team's admin cannot become the platform's."""
    with_team(identity, "red")
    body = KeyIn(scopes=[*scopes, "runs:read"])
    with pytest.raises(Forbidden, match=scopes[0]):
        identity.keys.create(admin_of("red"), "red", body)
    made = identity.keys.create(PLATFORM, "red", body)
    assert identity.principal(made.key).scopes == {*scopes, "runs:read"}
    with pytest.raises(Forbidden):
        identity.keys.rotate(admin_of("red"), "red", made.prefix, RotateIn())
    with pytest.raises(Forbidden):
        identity.keys.revoke(admin_of("red"), "red", made.prefix)


def test_only_the_platforms_admin_makes_a_key_for_services(identity: Identity) -> None:
    """It acts for every team, so it is in no team's power to give."""
    with_team(identity, "red")
    with pytest.raises(Forbidden):
        identity.keys.create(admin_of("red"), "red", KeyIn(service=True))
    made = identity.keys.create(PLATFORM, "red", KeyIn(service=True))
    assert identity.principal(made.key).is_service


def test_another_teams_keys_are_nobodys_business(identity: Identity) -> None:
    """Not even whether the team exists."""
    made = key_for(with_team(identity, "red", "blue"), "red")
    blue = admin_of("blue")
    for act in (
        lambda: identity.keys.of_team(blue, "red"),
        lambda: identity.keys.create(blue, "red", KeyIn(role="viewer")),
        lambda: identity.keys.rotate(blue, "red", made.prefix, RotateIn()),
        lambda: identity.keys.revoke(blue, "red", made.prefix),
        lambda: identity.keys.revoke(blue, "blue", made.prefix),
        lambda: identity.keys.of_team(blue, "no-such-team"),
    ):
        with pytest.raises(NotFound):
            act()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (KeyIn(), "scopes"),
        (KeyIn(role="member", scopes=["runs:read"]), "role"),
        (KeyIn(role="member", service=True), "role"),
        (KeyIn(scopes=["runs:fly"]), "scopes"),
        (KeyIn(user="nobody@example.org"), "user"),
    ],
)
def test_a_key_that_cannot_be_made_names_the_field(
    identity: Identity, body: KeyIn, field: str
) -> None:
    with_team(identity, "red")
    with pytest.raises(Invalid) as refused:
        identity.keys.create(PLATFORM, "red", body)
    assert (refused.value.field, bool(refused.value.fix)) == (field, True)


def test_every_scope_can_be_given_by_the_platforms_admin(identity: Identity) -> None:
    with_team(identity, "red")
    made = identity.keys.create(PLATFORM, "red", KeyIn(scopes=list(ALL_SCOPES)))
    assert identity.principal(made.key).scopes == set(ALL_SCOPES)
