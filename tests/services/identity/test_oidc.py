"""Tokens of a sign-in service: a real issuer over HTTP, whose keys are made here."""

from __future__ import annotations

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey
from pydantic import ValidationError

from services.chassis.storage.settings import StorageSettings
from services.chassis.web.errors import Unauthenticated
from services.identity import oidc
from services.identity.audit import Wanted
from services.identity.identity import Identity
from services.identity.scopes import ROLES
from services.identity.settings import IdentitySettings
from tests.support.chassis.example_service import example_service
from tests.support.identity.principals import admin_of, with_team
from tests.support.servers.oidc_issuer import Issuer, issuer
from vila2.client import Unreachable
from vila2.schemas.rest.identity import LimitsIn, MemberIn


@pytest.fixture
def service() -> Iterator[Issuer]:
    with issuer() as made:
        yield made


def settings(service: Issuer, *, role_claim: str = "role") -> IdentitySettings:
    return IdentitySettings(
        oidc_issuer=service.url, oidc_audience="vila2", oidc_role_claim=role_claim
    )


@pytest.fixture
def identity(service: Issuer, tmp_path: Path) -> Iterator[Identity]:
    made = settings(service).open(tmp_path, StorageSettings(database_url=""))
    yield with_team(made, "red")
    made.close()


def test_a_token_is_its_user_in_its_team_with_its_role(identity: Identity, service: Issuer) -> None:
    principal = identity.principal(service.token())
    assert (principal.user, principal.team) == ("ada@example.org", "red")
    assert (principal.key, principal.scopes) == ("oidc", set(ROLES["member"]))


def test_a_key_is_as_good_as_before(identity: Identity) -> None:
    assert identity.principal(identity.keys.issue(team="red")).team == "red"


def unsigned(service: Issuer) -> str:
    claims = service.token().split(".")[1]
    return f"{_part(json.dumps({'alg': 'none', 'kid': 'first'}).encode())}.{claims}."


def forged(service: Issuer) -> str:
    """Signed with the public key as if it were a shared secret."""
    claims = service.token().split(".")[1]
    signed = f"{_part(json.dumps({'alg': 'HS256', 'kid': 'first'}).encode())}.{claims}"
    public = service.keys["first"].as_pem(private=False)
    return f"{signed}.{_part(hmac.digest(public, signed.encode(), 'sha256'))}"


def altered(service: Issuer) -> str:
    head, claims, signature = service.token().split(".")
    told = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return f"{head}.{_part(json.dumps({**told, 'role': 'admin'}).encode())}.{signature}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@pytest.mark.parametrize("token", [
    lambda s: s.token(exp=int(time.time()) - 3600),
    lambda s: s.token(exp=None),
    lambda s: s.token(exp="never"),
    lambda s: s.token(nbf=int(time.time()) + 3600),
    lambda s: s.token(aud="another-program"),
    lambda s: s.token(aud=["another", "third"]),
    lambda s: s.token(aud=None),
    lambda s: s.token(iss="https://evil.example"),
    lambda s: s.token(iss=None),
    lambda s: s.token(key=RSAKey.generate_key(2048)),
    lambda s: s.token(kid="made-up", key=RSAKey.generate_key(2048)),
    unsigned,
    forged,
    altered,
    lambda s: s.token(team=None),
    lambda s: s.token(team="no-such-team"),
    lambda s: s.token(team=["red"]),
    lambda s: s.token(email=""),
    lambda s: s.token(role="platform"),
    lambda s: s.token() + "x",
    lambda _: "a.b.c",
    lambda _: "..",
], ids=[
    "expired", "without end", "end is no time", "not yet", "wrong audience", "wrong audiences",
    "no audience", "wrong issuer", "no issuer", "foreign key", "unknown key", "alg none",
    "public key as secret", "altered", "no team", "unknown team", "teams", "no user",
    "unknown role", "longer", "nonsense", "empty",
])  # fmt: skip
def test_a_token_that_is_not_right_is_refused(
    identity: Identity, service: Issuer, token: Callable[[Issuer], str]
) -> None:
    """And nothing of it is believed; the user is told what is wrong."""
    with pytest.raises(Unauthenticated, match="this token is refused"):
        identity.principal(token(service))


def test_one_of_several_audiences_is_enough(identity: Identity, service: Issuer) -> None:
    assert identity.principal(service.token(aud=["other", "vila2"])).team == "red"


def test_the_issuers_keys_are_asked_for_once(identity: Identity, service: Issuer) -> None:
    for _ in range(5):
        identity.principal(service.token())
    assert service.asked == {"/.well-known/openid-configuration": 1, "/keys": 1}


def test_a_new_key_of_the_issuer_is_found(
    identity: Identity, service: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one of another kind; the old ones may be gone."""
    identity.principal(service.token())
    monkeypatch.setattr(oidc, "_AGAIN_SECONDS", 0.0)
    service.keys.clear()
    service.add_key("second", kind="EC")
    token = service.token(kid="second", algorithm="ES256")
    assert identity.principal(token).team == "red"


def test_made_up_keys_do_not_make_us_call_the_issuer_each_time(
    identity: Identity, service: Issuer
) -> None:
    stranger = RSAKey.generate_key(2048)
    for number in range(5):
        with pytest.raises(Unauthenticated):
            identity.principal(service.token(kid=f"made-up-{number}", key=stranger))
    assert service.asked["/keys"] == 1


def test_while_the_issuer_is_away_its_keys_serve_on(
    identity: Identity, service: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity.principal(service.token())
    monkeypatch.setattr(oidc, "_FRESH_SECONDS", 0.0)
    service.down = True
    assert identity.principal(service.token()).team == "red"


def test_an_issuer_that_never_answered_is_no_reason_to_say_the_token_is_wrong(
    identity: Identity, service: Issuer
) -> None:
    service.down = True
    with pytest.raises(Unreachable, match="no keys from"):
        identity.principal(service.token())


def test_without_a_role_in_the_token_the_teams_role_decides(
    service: Issuer, tmp_path: Path
) -> None:
    """And who has none is told whom to ask."""
    identity = settings(service, role_claim="").open(tmp_path, StorageSettings(database_url=""))
    with_team(identity, "red")
    with pytest.raises(Unauthenticated, match="has no role in team red"):
        identity.principal(service.token(role="admin"))
    identity.teams.put_member(admin_of("red"), "red", "ada@example.org", MemberIn(role="viewer"))
    assert identity.principal(service.token(role="admin")).scopes == set(ROLES["viewer"])
    identity.close()


def test_an_issuer_without_an_audience_is_refused_at_the_start() -> None:
    """A token for any other program would be good."""
    with pytest.raises(ValidationError, match="needs VILA2_OIDC_AUDIENCE"):
        IdentitySettings(oidc_issuer="https://login.example")


def test_without_an_issuer_a_token_is_told_that_keys_are_wanted(tmp_path: Path) -> None:
    with example_service(tmp_path) as app:
        reply = app.send("GET", "v1/whoami", key="a.b.c")
    assert (reply.status_code, "VILA2_OIDC_ISSUER" in reply.json()["fix"]) == (401, True)


def test_a_token_is_limited_and_recorded_as_a_key_is(service: Issuer, tmp_path: Path) -> None:
    """By its team, and with its user's name."""
    with example_service(tmp_path, settings(service)) as app:
        with_team(app.identity, "red")
        app.identity.teams.set_limits(admin_of("red"), "red", LimitsIn(requests_per_minute=1))
        replies = [app.send("POST", "v1/taken", key=service.token()) for _ in range(2)]
        (entry,) = app.identity.audit.page(admin_of("red"), Wanted()).entries
    assert [reply.status_code for reply in replies] == [409, 429]
    assert (entry.key, entry.user, entry.team) == ("oidc", "ada@example.org", "red")
