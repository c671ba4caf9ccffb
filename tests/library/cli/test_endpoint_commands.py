"""`vila2 endpoints`: how requirements are written."""

from __future__ import annotations

import pytest

from vila2.cli.connection.workspace import CliError
from vila2.cli.endpoints import parse_requirement
from vila2.schemas.rest.caption import Requirement


@pytest.mark.parametrize(("text", "benchmark", "bound", "minimum"), [
    ("pope>=80", "pope", "value", 80.0),
    ("pope.low>=0.8", "pope", "low", 0.8),
    (" scenes >= -1e-3 ", "scenes", "value", -0.001),
    ("lmms-eval/mmmu_val.v2/acc>=.5", "lmms-eval/mmmu_val.v2/acc", "value", 0.5),
])  # fmt: skip
def test_a_requirement_names_a_benchmark_and_its_minimum(
    text: str, benchmark: str, bound: str, minimum: float
) -> None:
    expected = Requirement(benchmark=benchmark, bound=bound, minimum=minimum)
    assert parse_requirement(text) == expected


@pytest.mark.parametrize("text", [
    "", "pope", "pope>80", "pope=80", "pope<=80", ">=80", ".low>=", "pope>=", "pope>=high",
    "pope>=nan", "pope>=inf", "pope>=0.8 ocr>=0.5", "pope >= 0.8 or so",
])  # fmt: skip
def test_anything_else_is_refused_with_how_to_write_it(text: str) -> None:
    with pytest.raises(CliError, match=r"BENCHMARK>=MINIMUM, or BENCHMARK\.low>=MINIMUM"):
        parse_requirement(text)
