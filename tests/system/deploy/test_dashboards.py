"""The dashboards' JSON: checked against Grafana's schema, and consistent in itself."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from tests.support.paths import REPOSITORY

GRAFANA = REPOSITORY / "deploy" / "grafana"
FILES = sorted((GRAFANA / "dashboards").glob("*"))
BOARDS = {path.stem: json.loads(path.read_text()) for path in FILES}
SCHEMA = json.loads((Path(__file__).parent / "grafana.schema.json").read_text())
# The fields of a Prometheus query that the dashboards use; Grafana's schema leaves them open.
TARGET = {"expr", "format", "instant", "legendFormat", "range", "refId"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def check(value: object, definition: str) -> None:
    """Raises `jsonschema.ValidationError` unless `value` is what Grafana calls `definition`."""
    schema = {"$ref": f"#/definitions/{definition}", "definitions": SCHEMA["definitions"]}
    jsonschema.Draft7Validator(schema).validate(value)


def check_panel(panel: dict[str, Any]) -> None:
    """As above; the options by the schema of the panel's type."""
    if panel["type"] == "row":
        check(panel, "RowPanel")
        return
    check(panel, "Panel")
    check(panel["options"], panel["type"])
    check(panel["fieldConfig"]["defaults"].get("custom", {}), "GraphFieldConfig")
    assert all(set(target) <= TARGET for target in panel["targets"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_files_are_formatted(path: Path) -> None:
    """As `python -m json.tool --indent 2 --sort-keys --no-ensure-ascii` writes them."""
    text = json.dumps(BOARDS[path.stem], indent=2, sort_keys=True, ensure_ascii=False)
    assert path.read_text() == f"{text}\n"


@pytest.mark.parametrize("name", BOARDS)
def test_dashboards_match_the_schema_of_grafana(name: str) -> None:
    check({**BOARDS[name], "panels": []}, "Dashboard")
    for panel in BOARDS[name]["panels"]:
        check_panel(panel)


def misspell(panel: dict[str, Any]) -> None:
    panel["fieldConfig"]["defaults"]["units"] = "s"


def choose_a_legend_that_is_none(panel: dict[str, Any]) -> None:
    panel["options"]["legend"]["displayMode"] = "grid"


@pytest.mark.parametrize("spoil", [misspell, choose_a_legend_that_is_none])
def test_the_schema_refuses_a_wrong_panel(spoil: Callable[[dict[str, Any]], None]) -> None:
    """So the test above can fail."""
    panel = copy.deepcopy(panels(BOARDS["training"])[0])
    spoil(panel)
    with pytest.raises(jsonschema.ValidationError):
        check_panel(panel)


def test_the_schema_is_of_the_grafana_that_runs() -> None:
    """Raising the image's version means converting the schema again."""
    compose = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
    version = compose["services"]["grafana"]["image"].partition(":")[2]
    assert f"@grafana/schema {version} " in SCHEMA["$comment"]


def test_there_are_four_with_a_uid_each() -> None:
    assert set(BOARDS) == {"run-overview", "captioning", "training", "platform"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_has_a_title_a_description_a_unit_and_legends(name: str) -> None:
    for panel in panels(BOARDS[name]):
        assert panel["title"]
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("name", BOARDS)
def test_panels_do_not_overlap(name: str) -> None:
    """No two share an id or a cell of the grid, which is 24 wide."""
    held = BOARDS[name]["panels"]
    assert len({panel["id"] for panel in held}) == len(held)
    places = [
        (x, y)
        for panel in held
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places)
    assert max(x for x, _ in places) < 24


@pytest.mark.parametrize("name", BOARDS)
def test_variables_are_declared(name: str) -> None:
    """And each of them is used."""
    declared = {variable["name"] for variable in BOARDS[name]["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(BOARDS[name]["panels"])))
    assert used - {"__rate_interval"} == declared


def test_provisioning_has_what_the_dashboards_need() -> None:
    """A Prometheus, and dashboards that can only be changed in their files."""
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    assert [found["type"] for found in source["datasources"]] == ["prometheus"]
    boards = yaml.safe_load((GRAFANA / "provisioning/dashboards/vila2.yml").read_text())
    assert [found["allowUiUpdates"] for found in boards["providers"]] == [False]
