"""A team's share of the workers."""

from __future__ import annotations

import pytest

from services.chassis.work.team_share import TeamShare
from services.chassis.work.units import Claim, Postponed
from services.chassis.work.worker import Report


def claim(team: str) -> Claim:
    return Claim("u", "t", "s", {"team": team}, fence=1, attempt=1)


def test_a_team_at_its_share_is_postponed_and_another_is_not() -> None:
    share, ran = TeamShare(2), []

    def nested(held: Claim, _: Report) -> None:
        ran.append(held.payload["team"])
        if len(ran) == 1:
            run(claim("red"), print)
        elif len(ran) == 2:
            run(claim("blue"), print)
            with pytest.raises(Postponed, match="2 others in progress"):
                run(claim("red"), print)

    run = share.of(nested)
    run(claim("red"), print)
    assert ran == ["red", "red", "blue"]


def test_a_task_that_fails_gives_its_place_back() -> None:
    share = TeamShare(1)

    def broken(*_: object) -> None:
        raise RuntimeError("broken")

    for _ in range(3):
        with pytest.raises(RuntimeError):
            share.of(broken)(claim("red"), print)
    assert not share._running


def test_with_one_worker_a_team_has_it() -> None:
    """There is nothing to keep free."""
    done = []
    TeamShare(0).of(lambda *_: done.append(1))(claim("red"), print)
    assert done == [1]
