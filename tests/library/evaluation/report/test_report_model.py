"""The report's model: what it refuses."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import ValidationError

from tests.support.example_report import figures
from vila2.evaluation.report.model import RunReport


def test_a_report_survives_its_json(report: RunReport):
    """It is stored next to the run, and rendered from there."""
    assert RunReport.model_validate_json(report.model_dump_json()) == report


def _set(path: str, value: Any) -> dict[str, Any]:
    data: Any = figures()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    target = data
    for part in parents:
        target = target[part]
    target[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("rounds.0.f1", 0.5, "Extra inputs"),
        ("rounds.0.kind", "warm-up", "baseline"),
        ("rounds.0.scores.unheard", {"score": 1, "low": 1, "high": 1, "n": 1}, "unheard"),
        ("rounds.1.name", "baseline", "appear twice"),
        ("rounds.0.macro.score", float("nan"), "finite"),
        ("rounds.0.caption_metrics", {"captions": 1}, "words_mean"),
        ("examples.0.image_png_base64", "javascript:alert(1)", "not base64"),
        ("examples.0.image_png_base64", base64.b64encode(b"<svg>" * 9).decode(), "not a PNG"),
    ],
)
def test_a_report_that_would_mislead_is_refused(path: str, value: Any, message: str):
    """Unknown figures, unknown benchmarks, and images that are none."""
    with pytest.raises(ValidationError, match=message):
        RunReport.model_validate(_set(path, value))


def test_the_size_of_an_image_is_read_from_its_header(report: RunReport):
    """Small images are enlarged pixel by pixel."""
    assert report.examples[0].size == (32, 32)


def test_rounds_and_controls_are_told_apart(report: RunReport):
    """Both by index."""
    assert [r.index for r in report.main_rounds] == [0, 1, 2, 3]
    assert [r.index for r in report.controls] == [4, 5]
