"""Every query of the dashboards and alerts is answered by a Prometheus that has real data."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.support.paths import REPOSITORY
from tests.support.scraped_platforms import Scraped, scraped_platforms
from tests.system.deploy.test_dashboards import BOARDS, panels

pytestmark = pytest.mark.server

RULES = [
    rule
    for path in sorted((REPOSITORY / "deploy" / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
# What this machine cannot have, and why; such a query must still be one that Prometheus accepts.
ABSENT = {
    "nv_gpu_utilization": "Triton reports it for NVIDIA GPUs",
    "nv_gpu_memory_used_bytes": "Triton reports it for NVIDIA GPUs",
    "nv_gpu_memory_total_bytes": "Triton reports it for NVIDIA GPUs",
    "vila2_engine_kv_cache_usage_ratio": "vLLM reports it: tests/system/vllm has it",
    "vila2_engine_preemptions_total": "vLLM reports it: tests/system/vllm has it",
}
QUERIES = {
    f"{name}: {panel['title']} {target['refId']}": target
    for name, board in BOARDS.items()
    for panel in panels(board)
    for target in panel["targets"]
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scraped]:
    with scraped_platforms(tmp_path_factory.mktemp("scraped")) as made:
        yield made


@pytest.mark.parametrize("name", QUERIES)
def test_every_query_has_series(measured: Scraped, name: str) -> None:
    """With the labels that its legend names."""
    expression, legend = QUERIES[name]["expr"], QUERIES[name]["legendFormat"]
    found = measured.series(filled(expression))
    if named(expression) & set(ABSENT):
        return
    assert found, expression
    for label in re.findall(r"\{\{(\w+)\}\}", legend):
        assert any(label in series["metric"] for series in found), (label, expression)


@pytest.mark.parametrize("name", BOARDS)
def test_every_variable_has_values(measured: Scraped, name: str) -> None:
    for variable in BOARDS[name]["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.findall(r"label_values\((\w+), (\w+)\)", variable["query"])[0]
            assert all(series["metric"][label] for series in measured.series(metric))
            assert measured.has(metric)


def test_every_rule_is_evaluated_without_an_error(measured: Scraped) -> None:
    groups = measured.server.get("rules")["groups"]
    states = {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}
    assert set(states) == {rule.get("alert") or rule["record"] for rule in RULES}
    assert set(states.values()) == {"ok"}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_is_about_metrics_that_exist(measured: Scraped, rule: dict[str, Any]) -> None:
    """An alert on a misspelt metric would never fire."""
    for metric in named(rule["expr"]) - set(ABSENT):
        assert measured.has(metric), metric


def filled(expression: str) -> str:
    """As Grafana asks it when every value of every variable is selected."""
    return re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "10s"))


def named(expression: str) -> set[str]:
    """The metrics of an expression."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:vila2[_:][\w:]+|nv_\w+|process_\w+|up)\b", bare))
