"""The registry's commands."""

from __future__ import annotations

import pytest

from vila2.cli.registry import _requirement
from vila2.cli.workspace import CliError


def test_a_requirement_names_the_score_or_its_low_end() -> None:
    score, low = _requirement("scenes >= 0.4"), _requirement("scenes:low>=0.35")
    assert (score.benchmark, score.minimum, score.bound) == ("scenes", 0.4, "value")
    assert (low.minimum, low.bound) == (0.35, "low")


@pytest.mark.parametrize("text", ["scenes", "scenes>0.4", "scenes:mid>=0.4", "scenes>=much"])
def test_a_requirement_that_cannot_be_read_says_how(text: str) -> None:
    with pytest.raises(CliError, match="write BENCHMARK>=MINIMUM"):
        _requirement(text)
