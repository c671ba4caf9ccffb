"""`--workspace`, `--url`, `--key` and `--json` are shared, on either side of a command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from services.platform.embedded import EmbeddedPlatform
from tests.support.servers.platform_http import served
from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.main import app

RUN = CliRunner()
ROOT: Any = typer.main.get_command(app)
COMMANDS = {
    " ".join(filter(None, (group, name))): command
    for group, held in ROOT.commands.items()
    for name, command in getattr(held, "commands", {"": held}).items()
}
SHARED = {"--workspace", "--url", "--key", "--json"}


def options(command: Any) -> list[str]:
    return [flag for parameter in command.params for flag in parameter.opts]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """Address and key of a platform with a team called red."""
    with EmbeddedPlatform(tmp_path_factory.mktemp("platform")) as made, served(made) as url:
        made.client.identity.create_team("red")
        yield url, made.key


def teams(*arguments: str, env: dict[str, str] | None = None) -> list[str]:
    told = RUN.invoke(app, arguments, env=env)
    assert told.exit_code == 0, told.output or told.exception
    return [team["name"] for team in json.loads(told.stdout)]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_shared_options_once(name: str) -> None:
    """So that none of them has a meaning of its own anywhere."""
    given = options(COMMANDS[name])
    assert {flag for flag in SHARED if given.count(flag) == 1} == SHARED


@pytest.mark.parametrize("split", range(4))
def test_options_before_and_after_the_command_are_the_same(
    platform: tuple[str, str], split: int
) -> None:
    url, key = platform
    given = [["--url", url], ["--key", key], ["--json"]]
    before = [word for option in given[:split] for word in option]
    after = [word for option in given[split:] for word in option]
    assert teams(*before, "teams", "list", *after) == ["local", "red"]
    assert teams(*before, "teams", *after, "list") == ["local", "red"]


def test_an_option_after_the_command_wins(platform: tuple[str, str]) -> None:
    url, key = platform
    wrong = ["--url", "http://127.0.0.1:9", "--key", "no.key"]
    assert teams(*wrong, "teams", "list", "--url", url, "--key", key, "--json")


def test_what_is_typed_wins_over_the_environment(platform: tuple[str, str]) -> None:
    url, key = platform
    wrong = {"VILA2_URL": "http://127.0.0.1:9", "VILA2_KEY": "no.key"}
    assert teams("--url", url, "teams", "list", "--key", key, "--json", env=wrong)
    assert teams("teams", "list", "--json", env={"VILA2_URL": url, "VILA2_KEY": key})


def test_the_workspace_is_named_by_option_environment_or_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert Session().workspace == Path(".vila2")
    monkeypatch.setenv("VILA2_WORKSPACE", "there")
    assert Session().workspace == Path("there")
    assert Session(Path("here")).workspace == Path("here")
    assert Session().over(Session(Path("before"))).workspace == Path("before")
    assert Session(Path("after")).over(Session(Path("before"))).workspace == Path("after")


@pytest.mark.parametrize("arguments", [
    ["--json", "up"], ["up", "--json"], ["jobs", "logs", "job-1", "--json"],
    ["demo", "--url", "http://127.0.0.1:9"],
])  # fmt: skip
def test_an_option_that_would_change_nothing_is_refused(arguments: list[str]) -> None:
    told = RUN.invoke(app, arguments)
    assert isinstance(told.exception, CliError)
    assert "out" in str(told.exception)


def test_help_teaches_the_shared_options_where_they_matter() -> None:
    assert "before or after the command" in RUN.invoke(app, ["runs", "list", "--help"]).stdout
    alone = RUN.invoke(app, ["recipes", "show", "--help"]).stdout
    assert "--json" in alone
    assert "--url" not in alone
