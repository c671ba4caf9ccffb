"""What the runbooks tell somebody to type or to look for is there."""

from __future__ import annotations

import re

import pytest

from services.chassis.telemetry.metrics_table import described, table
from tests.support.paths import REPOSITORY

DOCS = REPOSITORY / "docs"
TEXTS = {
    path.name: path.read_text()
    for path in [
        *(REPOSITORY / "docs" / "runbooks").glob("*.md"),
        REPOSITORY / "docs" / "observability.md",
    ]
}
SOURCES = "\n".join(path.read_text() for path in (REPOSITORY / "services").rglob("*.py"))
# On Triton's own page of metrics; they are counted where only Triton can import.
METERS = (REPOSITORY / "services/caption/triton/backend/meters.py").read_text()
OF_THE_ENGINE = {
    f"vila2_engine_{name}" for name in re.findall(r'\("(\w+)", (?:COUNTER|GAUGE)', METERS)
}


@pytest.mark.parametrize("name", TEXTS)
def test_metrics_exist(name: str) -> None:
    """Every `vila2_...` is one that the code defines."""
    known = {row.name for row in described()} | OF_THE_ENGINE
    named = {re.sub("_bucket$", "", word) for word in re.findall(r"\bvila2_[a-z_]+", TEXTS[name])}
    assert named <= known


@pytest.mark.parametrize("name", TEXTS)
def test_log_lines_exist(name: str) -> None:
    """Every event that a line of the log is looked for by is written somewhere."""
    for event in re.findall(r'\.event == "([^"]+)"', TEXTS[name]):
        assert f'"{event}"' in SOURCES, event


def test_no_label_is_one_that_prometheus_gives_itself() -> None:
    """It would put ours aside as `exported_job`, and a sum by ours would be one by its own."""
    for row in described():
        assert not {"job", "instance"} & set(row.labels), row.name


def test_the_table_of_metrics_is_what_the_code_defines() -> None:
    """Writing it again changes nothing: `python -m services.chassis.telemetry.metrics_table`."""
    held = TEXTS["observability.md"].split("<!-- metrics -->\n")[1].split("<!-- /metrics -->")[0]
    assert held == table()
