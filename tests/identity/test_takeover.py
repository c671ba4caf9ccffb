"""A workspace of before there was a database of keys: nothing that worked stops working."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path

import httpx2
import pytest

from services.chassis.auth import ACT_AS, TEAM_SCOPES
from services.chassis.identity import takeover
from services.standalone.app import Standalone
from tests.identity.opened import opened
from tests.standalone import client_with

PEPPER = "ab" * 32


def keys_file(workspace: Path, **keys: tuple[str, tuple[str, ...]]) -> None:
    """As the file was written: prefix -> (secret, scopes)."""
    workspace.mkdir(exist_ok=True)
    held = {
        prefix: {
            "hmac": hmac.new(bytes.fromhex(PEPPER), secret.encode(), hashlib.sha256).hexdigest(),
            "team": "red",
            "scopes": list(scopes),
        }
        for prefix, (secret, scopes) in keys.items()
    }
    (workspace / "keys.json").write_text(json.dumps({"pepper": PEPPER, "keys": held}))


def test_an_old_workspace_accepts_its_keys_and_its_command_line_goes_on(tmp_path: Path) -> None:
    """The file `key` lacks the new scopes, so a key with them takes its place; both are good."""
    keys_file(tmp_path, aaaa=("old", TEAM_SCOPES), bbbb=("service", (*TEAM_SCOPES, ACT_AS)))
    (tmp_path / "key").write_text("aaaa.old")
    with Standalone(tmp_path) as platform:
        assert client_with(platform, "aaaa.old").datasets.all() == []
        assert client_with(platform, "bbbb.service").as_team("blue").datasets.all() == []
        assert platform.client.identity.whoami().team == "local"
    assert (tmp_path / "keys.json.taken-over").exists()
    assert not (tmp_path / "keys.json").exists()


def test_a_workspace_that_was_taken_over_keeps_its_keys(tmp_path: Path) -> None:
    """Also those that were made since; and the command line's key stays as it is."""
    keys_file(tmp_path, aaaa=("old", TEAM_SCOPES))
    first = opened(tmp_path)
    new = first.keys.issue(team="red")
    first.close()
    again = opened(tmp_path)
    assert again.principal("aaaa.old").team == again.principal(new).team == "red"
    again.close()


@pytest.mark.parametrize("step", ["pepper", "rows"])
def test_a_take_over_that_was_cut_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Before the rows are there, and before the file is put aside."""
    keys_file(tmp_path, aaaa=("old", TEAM_SCOPES))
    if step == "pepper":
        takeover.take_over_pepper(tmp_path)
    else:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as cut:
            cut.setattr(Path, "rename", killed)
            with pytest.raises(KeyboardInterrupt):
                opened(tmp_path)
    identity = opened(tmp_path)
    assert identity.principal("aaaa.old").team == "red"
    identity.close()


def test_old_keys_go_on_where_the_environment_names_another_pepper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """New keys get that one."""
    keys_file(tmp_path, aaaa=("old", TEAM_SCOPES))
    monkeypatch.setenv("VILA2_KEY_PEPPER", "cd" * 32)
    identity = opened(tmp_path)
    assert identity.principal("aaaa.old").team == "red"
    new = identity.keys.issue(team="red")
    identity.close()
    (tmp_path / "pepper").unlink()
    apart = opened(tmp_path)
    assert apart.principal(new).team == "red"
    apart.close()


def test_the_embedded_platform_makes_a_key_that_the_command_line_finds(tmp_path: Path) -> None:
    """Readable by its owner alone, and good for everything."""
    with Standalone(tmp_path) as platform:
        found = (tmp_path / "key").read_text().strip()
        assert (tmp_path / "key").stat().st_mode & 0o077 == 0
        with httpx2.Client(
            base_url="http://controller/", transport=platform.transport("controller")
        ) as http:
            told = http.get("v1/teams", headers={"authorization": f"Bearer {found}"})
        assert told.status_code == 200
    with Standalone(tmp_path):
        assert (tmp_path / "key").read_text().strip() == found
