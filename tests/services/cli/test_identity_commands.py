"""Teams, keys and the audit log by command, as an operator and a team's admin use them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from typer.testing import CliRunner

from services.platform.embedded import EmbeddedPlatform
from tests.support.servers.platform_http import served
from vila2.cli.main import app
from vila2.client import Client

RUN = CliRunner(env={"COLUMNS": "200"})


@dataclass
class Server:
    """A platform that runs, as the environment of a command names it."""

    url: str
    env: dict[str, str]

    def told(self, *arguments: str) -> str:
        result = RUN.invoke(app, [*arguments], env=self.env)
        assert result.exit_code == 0, result.output or result.exception
        return result.stdout

    def error(self, *arguments: str) -> str:
        result = RUN.invoke(app, [*arguments], env=self.env)
        assert result.exit_code != 0
        return str(result.exception)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with EmbeddedPlatform(tmp_path_factory.mktemp("platform")) as platform, served(platform) as url:
        yield Server(url, {"VILA2_URL": url, "VILA2_KEY": platform.key})


def test_a_team_is_made_filled_limited_and_shown(server: Server) -> None:
    """With what it has used of each limit, whoever counts it."""
    server.told("teams", "create", "red")
    assert "ada@example.org is admin of red" in server.told(
        "teams", "add", "red", "ada@example.org", "--role", "admin"
    )
    server.told("teams", "limits", "red", "--images-per-day", "12000")
    shown = server.told("teams", "show", "red")
    for part in ("ada@example.org", "admin", "images", "12,000", "GPU-hours", "storage"):
        assert part in shown
    assert "red" in server.told("teams", "list")
    server.told("teams", "remove", "red", "ada@example.org")
    assert "ada@example.org" not in server.told("teams", "show", "red")


def test_a_key_is_printed_alone_so_that_a_script_can_take_it(server: Server) -> None:
    """It works over HTTP at once, with its role's scopes; listed, its secret is gone."""
    key = server.told("keys", "create", "--role", "viewer", "--name", "robot", "--days", "30")
    prefix, _, secret = key.strip().partition(".")
    viewer = Client.connect(server.url, key=key.strip())
    assert viewer.identity.whoami().team == "local"
    viewer.close()
    listed = server.told("keys", "list")
    assert prefix in listed
    assert "robot" in listed
    assert secret not in listed


def test_a_key_is_rotated_and_revoked_by_its_prefix(server: Server) -> None:
    """What has ended is counted, and shown when asked for."""
    old = server.told("keys", "create", "--role", "member").partition(".")[0]
    new = server.told("keys", "rotate", old, "--overlap-hours", "0").partition(".")[0]
    assert f"{new} : revoked" in server.told("keys", "revoke", new)
    listed = server.told("keys", "list")
    assert old not in listed
    assert "2 more have ended" in listed
    assert "expired" in server.told("keys", "list", "--all")


def test_the_audit_log_is_printed_by_what_is_asked_for(server: Server) -> None:
    server.told("teams", "create", "green")
    server.told("keys", "create", "--team", "green", "--role", "admin")
    shown = server.told("audit", "--path", "/keys")
    assert "POST /v1/teams/green/keys" in shown
    assert "POST /v1/teams " not in shown
    assert "201" in shown


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("keys", "create"), "give a role or scopes"),
        (("keys", "create", "--scope", "runs:fly"), "there is no scope 'runs:fly'"),
        (("keys", "create", "--role", "member", "--days", "-1"), "greater than 0"),
        (("keys", "revoke", "00000000"), "has no key '00000000'"),
        (("teams", "show", "blue"), "no team 'blue'"),
        (("teams", "create", "Red Team"), "name"),
    ],
)
def test_what_is_wrong_is_said_with_what_to_do(
    server: Server, arguments: tuple[str, ...], words: str
) -> None:
    assert words.lower() in server.error(*arguments).lower()
