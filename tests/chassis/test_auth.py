from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.chassis.auth import ACT_AS, KeyRing, write_private
from tests.chassis.small_app import SmallApp, small_app


@pytest.fixture
def app(tmp_path: Path) -> Iterator[SmallApp]:
    with small_app(tmp_path) as made:
        yield made


def test_a_secret_is_nowhere_in_the_keys_file(tmp_path: Path) -> None:
    """Who reads the file cannot use the keys in it."""
    key = KeyRing(tmp_path / "keys.json").issue(team="red")
    prefix, _, secret = key.partition(".")
    text = (tmp_path / "keys.json").read_text()
    assert prefix in text
    assert secret not in text


def test_the_keys_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    """Also where the process makes files that all may read, and where the file was open before."""
    before = os.umask(0)
    try:
        path = tmp_path / "keys.json"
        KeyRing(path).issue(team="red")
        path.chmod(0o666)
        KeyRing(path).issue(team="red")
        write_private(tmp_path / "deep" / "key", "x")
    finally:
        os.umask(before)
    for made in (path, tmp_path / "deep" / "key"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o600


def test_a_key_is_known_to_a_ring_that_is_read_later(tmp_path: Path) -> None:
    """Keys outlive the process that made them."""
    key = KeyRing(tmp_path / "keys.json").issue(team="red", scopes=("runs:read",))
    principal = KeyRing(tmp_path / "keys.json").principal(key)
    assert principal is not None
    assert (principal.team, principal.scopes) == ("red", frozenset({"runs:read"}))


@pytest.mark.parametrize("spoil", [
    lambda key: key[:-1] + ("a" if key[-1] != "a" else "b"),
    lambda key: key.partition(".")[0],
    lambda key: key.partition(".")[0] + ".",
    lambda key: "00000000." + key.partition(".")[2],
    lambda key: key + "x",
    lambda _: ".",
    lambda _: "ü.é",
])  # fmt: skip
def test_a_wrong_key_is_nobody(tmp_path: Path, spoil: object) -> None:
    """However little is wrong with it."""
    keys = KeyRing(tmp_path / "keys.json")
    key = keys.issue(team="red")
    assert keys.principal(key) is not None
    assert keys.principal(spoil(key)) is None  # type: ignore[operator]


@pytest.mark.parametrize("authorization", ["", "Bearer", "Bearer ", "Basic {key}", "{key}"])
def test_a_request_without_a_bearer_key_is_told_how_to_send_one(
    app: SmallApp, authorization: str
) -> None:
    """401, with the header and its form."""
    header = authorization.format(key=app.keys.issue(team="red"))
    reply = app.send("GET", "v1/whoami", headers={"authorization": header})
    assert reply.status_code == 401
    assert (reply.json()["field"], "Bearer" in reply.json()["fix"]) == ("Authorization", True)


def test_an_unknown_key_is_refused(app: SmallApp) -> None:
    """401, not 403: nobody is known by it."""
    assert app.send("GET", "v1/whoami", key="nobody.nothing").status_code == 401


def test_a_key_without_the_scope_is_told_which_one_it_lacks(app: SmallApp) -> None:
    """403 as a problem document."""
    reply = app.send("POST", "v1/taken", key=app.keys.issue(team="red", scopes=("runs:read",)))
    assert reply.status_code == 403
    assert reply.headers["content-type"] == "application/problem+json"
    assert "runs:write" in reply.json()["detail"]


def test_only_a_service_may_name_a_team(app: SmallApp) -> None:
    """The header of another is refused even where it names the key's own team."""
    key = app.keys.issue(team="red")
    for team in ("blue", "red"):
        reply = app.send("GET", "v1/whoami", key=key, headers={"x-vila2-team": team})
        assert (reply.status_code, reply.json()["field"]) == (403, "x-vila2-team")


def test_a_service_works_for_the_team_that_it_names(app: SmallApp) -> None:
    """And for its own where it names none."""
    key = app.keys.issue(team="red", scopes=("runs:read", ACT_AS))
    named = app.send("GET", "v1/whoami", key=key, headers={"x-vila2-team": "blue"})
    assert named.json() == {"team": "blue"}
    assert app.send("GET", "v1/whoami", key=key).json() == {"team": "red"}
