"""The invented run's report as a fixture."""

from __future__ import annotations

import pytest

from tests.support.example_report import figures
from vila2.evaluation.report.model import RunReport


@pytest.fixture
def report() -> RunReport:
    """Return the invented run's report."""
    return RunReport.model_validate(figures())
