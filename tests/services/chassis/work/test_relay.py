"""Hints in turns: what is published when many units wait and there is room for few."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chassis.work import relay as relay_module
from services.chassis.work.relay import TURN, Relay
from tests.support.chassis.work_units import WorkDatabase


class Room:
    """Takes so many hints and then refuses, until it is emptied."""

    def __init__(self, size: int) -> None:
        self.size, self.held, self.all = size, list[str](), list[str]()

    def publish(self, _: str, unit_id: str) -> bool:
        if len(self.held) >= self.size:
            return False
        self.held.append(unit_id)
        self.all.append(unit_id)
        return True


@pytest.fixture
def work_db(database_url: str) -> Iterator[WorkDatabase]:
    made = WorkDatabase(database_url)
    yield made
    made.database.close()


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{n:04d}" for n in range(count)]


def test_a_backlog_is_hinted_piece_by_piece_and_each_unit_once_a_pass(
    work_db: WorkDatabase,
) -> None:
    """A lost hint of a late unit does not wait for the early ones to be done."""
    units = names("u", 4 * TURN + 3)
    work_db.add(*units)
    room = Room(TURN + 7)
    relay = Relay(work_db.units, room.publish)
    while len(room.all) < len(units):
        room.held.clear()
        relay.once()
    assert room.all == units


def test_what_was_hinted_in_vain_is_hinted_again_in_the_next_pass(work_db: WorkDatabase) -> None:
    """A broker that lost everything is filled anew."""
    work_db.add("u1", "u2")
    room = Room(100)
    relay = Relay(work_db.units, room.publish)
    relay.once()
    relay.once()
    assert room.all == ["u1", "u2", "u1", "u2"]


def test_a_small_job_has_its_turn_while_a_large_one_waits(work_db: WorkDatabase) -> None:
    """It comes later, and is not behind all of the other's units."""
    work_db.add(*names("large", 10 * TURN), subject="a-large-one")
    room = Room(2 * TURN)
    relay = Relay(work_db.units, room.publish)
    relay.once()
    work_db.add("small", subject="a-small-one")
    room.held.clear()
    relay.once()
    assert "small" in room.held


def test_a_unit_whose_worker_vanished_is_hinted_before_all_others(work_db: WorkDatabase) -> None:
    """It has waited for a whole lease already."""
    work_db.add("lost", *names("u", 3))
    work_db.lapsing.claim("lost", owner="w")
    room = Room(1)
    Relay(work_db.units, room.publish).once()
    assert room.all == ["lost"]


def test_a_unit_that_is_to_rest_is_not_hinted(work_db: WorkDatabase) -> None:
    """A failure is followed by a pause."""
    work_db.add("u1", "u2")
    claim = work_db.units.claim("u1", owner="w")
    assert claim is not None
    work_db.units.fail(claim, "later")
    room = Room(10)
    Relay(work_db.units, room.publish).once()
    assert room.all == ["u2"]


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    size=st.integers(1, 8),
    turn=st.integers(1, 5),
)
def test_every_unit_is_hinted_however_little_room_there_is(
    work_db: WorkDatabase, monkeypatch: pytest.MonkeyPatch, sizes: list[int], size: int, turn: int
) -> None:
    """Whatever the jobs' sizes: nothing starves, even if no unit is ever taken."""
    monkeypatch.setattr(relay_module, "TURN", turn)
    work_db.clear()
    units = set()
    for number, count in enumerate(sizes):
        made = [f"{number}-{name}" for name in names("u", count)]
        work_db.add(*made, subject=f"job-{number}")
        units |= set(made)
    room = Room(size)
    relay = Relay(work_db.units, room.publish)
    for _ in range(2 * len(units) // size + len(sizes) + 2):
        room.held.clear()
        relay.once()
    assert set(room.all) == units
