"""Whatever moment the process dies at, the run ends as if it had not.

`python -m tests.crash` kills it at each moment by itself; here one run dies again and again all
along the way, and one at a moment of each kind.
"""

from __future__ import annotations

from itertools import count, cycle
from pathlib import Path

import pytest

from tests.crash.boundaries import Watch
from tests.crash.conftest import Undisturbed
from tests.crash.lives import ENDED, KILLED, copied, live, moments, result, several

pytestmark = [pytest.mark.full, pytest.mark.timeout(1500)]
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
        if live(workspace, Watch.at(next(strides))) == ENDED:
            break
        assert lives < len(undisturbed.moments), "it gets nowhere"
    assert lives > 20
    assert result(workspace) == undisturbed.result


def test_a_run_with_several_seeds_that_dies_between_them_ends_the_same(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Between two trainings of a round, two evaluations, and what they leave in its row."""
    passed = moments(undisturbed.world, tmp_path / "undisturbed", several())
    expected = result(tmp_path / "undisturbed", several())
    assert passed.count("round.evaluate-asked") >= 2 * 3
    workspace = copied(undisturbed.world, tmp_path / "workspace")
    strides = cycle(STRIDES)
    for lives in count(1):
        if live(workspace, Watch.at(next(strides)), several()) == ENDED:
            break
        assert lives < len(passed), "it gets nowhere"
    assert lives > 15
    assert result(workspace, several()) == expected


def test_a_run_that_dies_once_at_each_kind_of_moment_ends_the_same(
    undisturbed: Undisturbed, tmp_path: Path
) -> None:
    """Each life dies at the first kind of moment that none before it has died at."""
    workspace, record = copied(undisturbed.world, tmp_path / "workspace"), tmp_path / "died"
    record.touch()

    def dies(_: int, name: str) -> bool:
        if name in record.read_text().splitlines():
            return False
        with record.open("a") as out:
            print(name, file=out)
        return True

    while (ended := live(workspace, Watch(dies))) == KILLED:
        pass
    assert ended == ENDED
    died = record.read_text().splitlines()
    assert len(died) == len(set(died)) > 25
    assert set(died) >= set(undisturbed.moments)
    assert result(workspace) == undisturbed.result
