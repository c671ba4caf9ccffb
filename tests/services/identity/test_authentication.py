"""Who is let in, and what those who are not are told."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from services.chassis.web.errors import Unauthenticated
from services.identity.identity import Identity
from services.identity.peppers import Peppers, PepperWrong, add_private, write_private
from services.identity.require_scope import ACT_AS
from tests.support.chassis.example_service import ExampleService
from tests.support.identity.identities import open_identity

PEPPER, OTHER = "11" * 32, "22" * 32


def test_a_secret_is_nowhere_in_the_database(tmp_path: Path) -> None:
    """Who reads the file cannot use the keys in it: the HMAC's pepper is elsewhere."""
    identity = open_identity(tmp_path)
    prefix, _, secret = identity.keys.issue(team="red").partition(".")
    identity.close()
    held = (tmp_path / "db" / "identity.sqlite").read_bytes()
    assert prefix.encode() in held
    assert secret.encode() not in held
    assert (tmp_path / "pepper").read_text().strip().encode() not in held


def test_the_pepper_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Also where the process makes files that all may read, and where the file was open before."""
    before = os.umask(0)
    try:
        path = tmp_path / "deep" / "pepper"
        Peppers.of(path)
        write_private(tmp_path / "key", "x")
        (tmp_path / "key").chmod(0o666)
        write_private(tmp_path / "key", "y")
    finally:
        os.umask(before)
    for made in (path, tmp_path / "key"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_of_two_processes_that_make_the_pepper_one_wins(tmp_path: Path) -> None:
    """The other takes that one's, or its keys would be nobody's."""
    assert add_private(tmp_path / "pepper", PEPPER)
    assert not add_private(tmp_path / "pepper", OTHER)
    assert (tmp_path / "pepper").read_text() == PEPPER


def test_a_key_of_an_old_pepper_goes_on_and_new_ones_get_the_new(tmp_path: Path) -> None:
    """So that a pepper can be changed while keys are rotated."""
    old = Peppers.of(tmp_path / "pepper", given=PEPPER).new_key()
    both = Peppers.of(tmp_path / "pepper", given=f"{OTHER},{PEPPER}")
    assert both.fits(old.secret, digest=old.digest, pepper=old.pepper)
    assert both.new_key().pepper != old.pepper
    without = Peppers.of(tmp_path / "pepper", given=OTHER)
    assert not without.fits(old.secret, digest=old.digest, pepper=old.pepper)


@pytest.mark.parametrize("pepper", ["short", "0011", "zz" * 32])
def test_a_weak_pepper_is_refused_with_how_to_make_one(tmp_path: Path, pepper: str) -> None:
    with pytest.raises(PepperWrong, match="openssl rand -hex 32"):
        Peppers.of(tmp_path / "pepper", given=pepper)


def test_a_key_is_known_to_a_process_that_starts_later(
    identity: Identity, database_url: str, tmp_path: Path
) -> None:
    """Keys outlive the process that made them."""
    key = identity.keys.issue(team="red", scopes=("runs:read",))
    later = open_identity(tmp_path, database_url)
    principal = later.principal(key)
    assert (principal.team, principal.scopes) == ("red", frozenset({"runs:read"}))
    later.close()


@pytest.mark.parametrize("spoil", [
    lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
    lambda key: key.partition(".")[0],
    lambda key: key.partition(".")[0] + ".",
    lambda key: "00000000." + key.partition(".")[2],
    lambda key: key + "x",
    lambda _: ".",
    lambda _: "..",
    lambda _: "ü.é",
])  # fmt: skip
def test_a_wrong_key_is_nobody(tmp_path: Path, spoil: Callable[[str], str]) -> None:
    """However little is wrong with it."""
    identity = open_identity(tmp_path)
    key = identity.keys.issue(team="red")
    assert identity.principal(key).team == "red"
    with pytest.raises(Unauthenticated):
        identity.principal(spoil(key))
    identity.close()


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic {key}", "{key}"])
def test_a_request_without_a_bearer_key_is_told_how_to_send_one(
    app: ExampleService, authorization: str
) -> None:
    """401, with the header and its form."""
    header = authorization.format(key=app.keys.issue(team="red"))
    reply = app.send("GET", "v1/whoami", headers={"authorization": header})
    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert (reply.json()["field"], "Bearer" in reply.json()["fix"]) == ("Authorization", True)


def test_an_unknown_key_is_refused(app: ExampleService) -> None:
    """401, not 403: nobody is known by it."""
    assert app.send("GET", "v1/whoami", key="nobody.nothing").status_code == 401


def test_a_key_without_the_scope_is_told_which_one_it_lacks(app: ExampleService) -> None:
    """403 as a problem document."""
    reply = app.send("POST", "v1/taken", key=app.keys.issue(team="red", scopes=("runs:read",)))
    assert reply.status_code == 403
    assert reply.headers["content-type"] == "application/problem+json"
    assert "runs:write" in reply.json()["detail"]


def test_only_a_service_may_name_a_team(app: ExampleService) -> None:
    """The header of another is refused even where it names the key's own team."""
    key = app.keys.issue(team="red")
    for team in ("blue", "red"):
        reply = app.send("GET", "v1/whoami", key=key, headers={"x-vila2-team": team})
        assert (reply.status_code, reply.json()["field"]) == (403, "x-vila2-team")


def test_a_service_works_for_the_team_that_it_names(app: ExampleService) -> None:
    """And for its own where it names none."""
    key = app.keys.issue(team="red", scopes=("runs:read", ACT_AS))
    named = app.send("GET", "v1/whoami", key=key, headers={"x-vila2-team": "blue"})
    assert named.json() == {"team": "blue"}
    assert app.send("GET", "v1/whoami", key=key).json() == {"team": "red"}
