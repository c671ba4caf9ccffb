"""The alerts: each fires and keeps quiet as its test says, and has a runbook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.paths import REPOSITORY
from tests.support.servers.prometheus import ask

PROMETHEUS = REPOSITORY / "deploy" / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
CASES = sorted((Path(__file__).parent / "rules").glob("*.yml"))
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
SECTIONS = ("## What it means", "## How to look", "## What to do")


def alerts() -> list[dict[str, Any]]:
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


NAMES = sorted({rule["alert"] for rule in alerts()})


def test_prometheus_accepts_its_configuration_and_rules() -> None:
    """`promtool check config` reads the rules along."""
    ask("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    ask("promtool", "check", "rules", *RULES)


def test_alertmanager_accepts_its_configuration() -> None:
    ask("amtool", "check-config", PROMETHEUS / "alertmanager.yml")


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_alerts_fire_and_keep_quiet(case: Path) -> None:
    """On series written for each, to the very words of what is told."""
    ask("promtool", "test", "rules", case)


@pytest.mark.parametrize("name", NAMES)
def test_every_alert_is_seen_to_fire_and_to_keep_quiet(name: str) -> None:
    """As often as it has rules, so that none goes untested."""
    held = [
        expected["exp_alerts"]
        for path in CASES
        for test in yaml.safe_load(path.read_text())["tests"]
        for expected in test["alert_rule_test"]
        if expected["alertname"] == name
    ]
    rules = sum(rule["alert"] == name for rule in alerts())
    assert sum(bool(alerts) for alerts in held) >= rules
    assert sum(not alerts for alerts in held) >= rules


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_every_alert_says_what_it_is_and_where_its_runbook_lies(rule: dict[str, Any]) -> None:
    """The runbook tells what it means, how to look, and what to do."""
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    runbook = REPOSITORY / rule["annotations"]["runbook_url"]
    assert runbook.stem == rule["alert"]
    text = runbook.read_text()
    assert [section for section in SECTIONS if section not in text] == []


def test_every_runbook_is_of_an_alert() -> None:
    """What nothing points at is out of date."""
    assert {path.stem for path in RUNBOOKS.glob("*.md")} - {"README"} == set(NAMES)


def test_inhibitions_name_alerts_that_there_are() -> None:
    """A misspelt name would inhibit nothing and say nothing."""
    rules = yaml.safe_load((PROMETHEUS / "alertmanager.yml").read_text())["inhibit_rules"]
    named = {
        name
        for rule in rules
        for matcher in rule["source_matchers"] + rule["target_matchers"]
        for name in matcher.split('"')[1].split("|")
    }
    assert named <= set(NAMES)
