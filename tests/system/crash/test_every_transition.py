"""Whatever moment the process dies at, the run ends as if it had not.

One run dies again and again all along the way, one with several seeds too, and one at every
twentieth moment by itself; `python -m tests.system.crash` tries all moments.
"""

from __future__ import annotations

from itertools import count, cycle
from pathlib import Path

import pytest

from tests.support.crash.boundaries import Watch
from tests.support.crash.forked_runs import (
    ENDED,
    copied,
    moments,
    result,
    run_in_child,
    seeded_recipe,
    survives,
)
from tests.system.crash.conftest import Undisturbed

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
EVERY = 20
# Each life lasts so many moments. The short ones die before they have done anything that stays: a
# job that was claimed and not handed over is claimed again.
STRIDES = (3, 5, 8, 13, 21, 34)


def test_a_run_that_dies_at_every_step_ends_the_same(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """One run, killed again and again after a few commits each: it dies all along the way."""
    workspace = copied(undisturbed.world, tmp_path / "workspace")
    strides = cycle(STRIDES)
    for lives in count(1):
        if run_in_child(workspace, Watch.at(next(strides))) == ENDED:
            break
        assert lives < len(undisturbed.moments), "it gets nowhere"
    assert lives > 20
    assert result(workspace) == undisturbed.result


@pytest.mark.full
def test_a_run_with_several_seeds_that_dies_between_them_ends_the_same(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Between two trainings of a round, two evaluations, and what they leave in its row."""
    passed = moments(undisturbed.world, tmp_path / "undisturbed", seeded_recipe())
    expected = result(tmp_path / "undisturbed", seeded_recipe())
    assert passed.count("round.evaluate-asked") >= 2 * 3
    workspace = copied(undisturbed.world, tmp_path / "workspace")
    strides = cycle(STRIDES)
    for lives in count(1):
        if run_in_child(workspace, Watch.at(next(strides)), seeded_recipe()) == ENDED:
            break
        assert lives < len(passed), "it gets nowhere"
    assert lives > 15
    assert result(workspace, seeded_recipe()) == expected


@pytest.mark.full
def test_a_run_that_dies_at_any_moment_ends_the_same(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Each moment by itself."""
    numbers = range(EVERY // 2, len(undisturbed.moments) + 1, EVERY)
    different = [
        (number, undisturbed.moments[number - 1])
        for number in numbers
        if not survives(undisturbed.world, tmp_path / "there", number, undisturbed.result)
    ]
    assert not different


def test_there_are_moments_of_many_kinds(undisturbed: Undisturbed) -> None:
    assert len(undisturbed.moments) > 400
    assert len(set(undisturbed.moments)) > 25
