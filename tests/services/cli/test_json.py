"""With `--json`, every list and every view prints what REST answers, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter
from typer.testing import CliRunner

from services.platform.embedded import EmbeddedPlatform
from tests.support.datasets.captioned_datasets import dataset, layer
from tests.support.servers.platform_http import served
from vila2.cli.main import app
from vila2.schemas.rest import caption, controller, datasets, identity, training

RUN = CliRunner()


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A platform with four captioned foxes."""
    folder = tmp_path_factory.mktemp("json")
    with EmbeddedPlatform(folder / "workspace") as platform, served(platform) as url:
        dataset(platform.client, folder / "foxes")
        layer(platform.client, platform.apps["datasets"].state.context.objects, name="one")
        yield {"VILA2_URL": url, "VILA2_KEY": platform.key}


def printed(env: dict[str, str], command: str) -> str:
    told = RUN.invoke(app, [*command.split(), "--json"], env=env)
    assert told.exit_code == 0, told.output or told.exception
    return told.stdout


@pytest.mark.parametrize(("command", "model"), [
    ("datasets list", list[datasets.Dataset]),
    ("datasets show foxes", datasets.Version),
    ("datasets show foxes p0", datasets.Lineage),
    ("datasets audit foxes", list[datasets.Audit]),
    ("datasets history", list[datasets.HistoryEntry]),
    ("datasets history --takedowns", list[datasets.Takedown]),
    ("captions list", list[datasets.Layer]),
    ("runs list", list[controller.Run]),
    ("jobs list", list[training.Job]),
    ("models list", list[training.RegisteredModel]),
    ("benchmarks list", list[datasets.Version]),
    ("endpoints list", list[caption.Endpoint]),
    ("teams list", list[identity.Team]),
    ("teams show", identity.Team),
    ("teams show --by-run", list[training.Usage]),
    ("teams limits local --max-jobs 3", identity.Team),
    ("keys list", list[identity.Key]),
    ("keys create --role viewer", identity.NewKey),
    ("audit", list[identity.AuditEntry]),
])  # fmt: skip
def test_it_is_what_rest_answers(env: dict[str, str], command: str, model: type[BaseModel]) -> None:
    TypeAdapter(model).validate_json(printed(env, command))


@pytest.mark.parametrize(("command", "keys"), [
    ("recipes list", {"name", "description"}),
    ("recipes show tiny", {"rounds", "data", "captioning"}),
    ("recipes show tiny --explain", {"path", "value", "citation"}),
    ("recipes show --schema", {"properties", "$schema"}),
    ("recipes check tiny", {"name", "recipe_hash"}),
    ("models list --presets", {"name", "about"}),
    ("captions show foxes", {"key", "original", "captions"}),
    ("captions diff one one", {"same", "examples"}),
    ("doctor", {"healthy", "findings"}),
])  # fmt: skip
def test_what_is_made_here_is_json_too(env: dict[str, str], command: str, keys: set[str]) -> None:
    found: Any = json.loads(printed(env, command))
    assert keys <= set(found[0] if isinstance(found, list) else found)
