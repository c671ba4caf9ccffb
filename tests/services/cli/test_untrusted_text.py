"""Text of users, of data and of nobody known reaches the terminal as text."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
from typer.testing import CliRunner

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.captioned_datasets import dataset, layer
from tests.support.servers.platform_http import served
from vila2.cli.main import app, main
from vila2.schemas.rest.datasets import TakedownIn
from vila2.schemas.rest.identity import KeyIn

RUN = CliRunner()
HOSTILE = "x[/z] [bold]\x1b[31mred\x9b2J"
SHOWN = "[bold]"


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A platform in which a colleague has used such text wherever it is taken."""
    folder = tmp_path_factory.mktemp("hostile")
    with EmbeddedPlatform(folder / "workspace") as platform, served(platform) as url:
        client, objects = platform.client, platform.apps["datasets"].state.context.objects
        dataset(client, folder / "foxes")
        layer(client, objects, name="one", text=f"a {HOSTILE} {{key}}")
        layer(client, objects, name="two", quarantined=("p3",), text=HOSTILE + "{key}")
        layer(client, objects, name="three", text="b {key}")
        client.datasets.withdraw_layer("two", HOSTILE)
        client.datasets.take_down(
            TakedownIn(dataset="foxes", key="p1", reason=HOSTILE, requested_by=HOSTILE)
        )
        client.identity.create_key("local", KeyIn(name=HOSTILE, role="viewer"))
        by_nobody_known = quote(HOSTILE.replace("/", ""))
        httpx2.get(f"{url}/datasets/v1/datasets/{by_nobody_known}")
        yield {"VILA2_URL": url, "VILA2_KEY": platform.key}


@pytest.mark.parametrize("command", [
    "keys list", "datasets history", "datasets history --takedowns", "captions show foxes",
    "captions diff one three", "datasets show foxes p0", "audit --status 401",
])  # fmt: skip
def test_it_is_shown_and_not_obeyed(env: dict[str, str], command: str) -> None:
    told = RUN.invoke(app, command.split(), env=env)
    assert told.exit_code == 0, told.exception
    assert SHOWN in told.stdout
    assert not set(told.stdout) & {"\x1b", "\x9b"}


@pytest.mark.parametrize("command", ["keys list", "datasets history", "captions show foxes"])
def test_json_carries_it_escaped(env: dict[str, str], command: str) -> None:
    told = RUN.invoke(app, [*command.split(), "--json"], env=env).stdout
    assert json.dumps(HOSTILE)[1:-1] in json.dumps(json.loads(told))
    assert not set(told) & {"\x1b", "\x9b"}


def test_addresses_with_tags_in_them_are_counted_in_the_summary(tmp_path: Path) -> None:
    """A forum's `[/img]`, or a path that looks like a closing tag, ended the command before."""
    (tmp_path / "urls.csv").write_text(
        "url,caption\n"
        "http://127.0.0.1:9/[/catalogue/1.jpg],a chair\n"
        "http://127.0.0.1:9/a.jpg[/img],a table\n"
    )
    told = RUN.invoke(app, ["datasets", "submit", str(tmp_path / "urls.csv"), "--format", "urls",
                            "--name", "urls", "-w", str(tmp_path / "w")])  # fmt: skip
    assert "2 quarantined" in told.stdout
    assert "for example" in told.stdout


def test_an_error_names_what_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["vila2", "recipes", "check", HOSTILE])
        with pytest.raises(SystemExit):
            main()
    told = capsys.readouterr().err
    assert SHOWN in told
    assert not set(told) & {"\x1b", "\x9b"}
