"""Prints, below a run of the tests, what became of the documentation's blocks.

A test that counts gives its report the property `documentation`, a list of lines; reports come back
from the processes of xdist, so this works there as well.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

PROPERTY = "documentation"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How often each line was reported."""
    lines = Counter(
        line
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == PROPERTY
        for line in value
    )
    if lines:
        terminalreporter.section("the documentation")
        for line, count in sorted(lines.items()):
            terminalreporter.write_line(f"{count:5}  {line}")
