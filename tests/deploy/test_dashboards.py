"""The dashboards: built in code, and every query answered by a Prometheus with real data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.fed import Fed, fed

pytest.importorskip("grafana_foundation_sdk", reason="pip install -c constraints.txt '.[dev]'")
pytestmark = pytest.mark.server

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
BOARDS = {path.stem: json.loads(path.read_text()) for path in (GRAFANA / "dashboards").glob("*")}
RULES = [
    rule
    for path in sorted((ROOT / "deploy" / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
# What this machine cannot have, and why; such a query must still be one that Prometheus accepts.
ABSENT = {
    "nv_gpu_utilization": "Triton tells it of NVIDIA GPUs",
    "nv_gpu_memory_used_bytes": "Triton tells it of NVIDIA GPUs",
    "nv_gpu_memory_total_bytes": "Triton tells it of NVIDIA GPUs",
}
_INTERVAL = {"__rate_interval": "10s"}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    return [panel for panel in board["panels"] if panel["type"] != "row"]


QUERIES = {
    f"{name}: {panel['title']} {target['refId']}": target
    for name, board in BOARDS.items()
    for panel in panels(board)
    for target in panel["targets"]
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fed]:
    with fed(tmp_path_factory.mktemp("fed")) as made:
        yield made


def test_building_them_again_changes_nothing(tmp_path: Path) -> None:
    """The JSON is what the code says."""
    subprocess.run([sys.executable, GRAFANA / "build.py", tmp_path], check=True, timeout=60)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text() for path in (GRAFANA / "dashboards").iterdir()}


def test_there_are_four_with_an_address_each() -> None:
    assert set(BOARDS) == {"run-overview", "captioning", "training", "platform"}
    assert len({board["uid"] for board in BOARDS.values()}) == len(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_every_panel_says_what_it_shows(name: str) -> None:
    """A title, a sentence, a unit, and a name for each series."""
    for panel in panels(BOARDS[name]):
        assert panel["title"]
        assert panel["description"].endswith((".", "%"))
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("name", BOARDS)
def test_panels_stand_side_by_side(name: str) -> None:
    """No two share an id or a place."""
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
    assert used - set(_INTERVAL) == declared


def test_provisioning_names_what_the_dashboards_ask_for() -> None:
    """A Prometheus, and a folder of dashboards that nobody changes by hand."""
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())
    assert [held["type"] for held in source["datasources"]] == ["prometheus"]
    boards = yaml.safe_load((GRAFANA / "provisioning/dashboards/vila2.yml").read_text())
    assert [held["allowUiUpdates"] for held in boards["providers"]] == [False]


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_has_series(measured: Fed, name: str) -> None:
    """With the labels that its legend names."""
    expression, legend = QUERIES[name]["expr"], QUERIES[name]["legendFormat"]
    found = measured.series(filled(expression))
    if named(expression) & set(ABSENT):
        return
    assert found, expression
    for label in re.findall(r"\{\{(\w+)\}\}", legend):
        assert any(label in series["metric"] for series in found), (label, expression)


def test_they_can_be_drawn_without_grafana(measured: Fed, tmp_path: Path) -> None:
    """One picture of each, with every panel at its place."""
    asked = [GRAFANA / "preview.py", measured.server.url, tmp_path, "--hours", "0.05"]
    subprocess.run([sys.executable, *asked], check=True, timeout=120)
    assert {path.stem for path in tmp_path.glob("*.png")} == set(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_has_values(measured: Fed, name: str) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["query"])[0]
            assert all(series["metric"][label] for series in measured.series(metric))
            assert measured.has(metric)


def test_every_rule_is_evaluated_without_an_error(measured: Fed) -> None:
    groups = measured.server.get("rules")["groups"]
    states = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(states) == {rule.get("alert") or rule["record"] for rule in RULES}
    assert set(states.values()) == {"ok"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_is_about_metrics_that_there_are(measured: Fed, rule: dict[str, Any]) -> None:
    """An alert that keeps quiet since its metric is misspelt would keep quiet for ever."""
    for metric in named(rule["expr"]) - set(ABSENT):
        assert measured.has(metric), metric


def filled(expression: str) -> str:
    """As Grafana asks it where the reader chose everything."""
    return re.sub(r"\$(\w+)", lambda found: _INTERVAL.get(found[1], ".*"), expression)


def named(expression: str) -> set[str]:
    """The metrics of an expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:vila2[_:][\w:]+|nv_\w+|process_\w+|up)\b", bare))
