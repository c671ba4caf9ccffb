"""One controller leads; the others stand by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.chassis.storage.database import Database
from services.controller.leadership import Leadership
from services.controller.tables import Base


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database.sqlite(tmp_path / "leases.sqlite", Base.metadata)
    yield made
    made.close()


def pair(database: Database, clock: Clock) -> tuple[Leadership, Leadership]:
    made = [Leadership(database, seconds=10, clock=clock) for _ in range(2)]
    return made[0], made[1]


def test_only_one_of_two_leads(database: Database) -> None:
    first, second = pair(database, Clock())
    assert (first.lead(), second.lead(), first.lead()) == (True, False, True)


def test_another_takes_over_when_the_lease_runs_out(database: Database) -> None:
    clock = Clock()
    first, second = pair(database, clock)
    first.lead()
    clock.now += 10.1
    assert second.lead()
    assert not first.lead()
    assert second.fence > first.fence


def test_who_resigns_lets_another_lead_at_once(database: Database) -> None:
    first, second = pair(database, Clock())
    first.lead()
    first.resign()
    assert second.lead()


def test_the_only_process_deposes_whoever_led_before(database: Database) -> None:
    first, second = pair(database, Clock())
    first.lead()
    second.depose()
    assert second.lead()


@settings(deadline=None, max_examples=40)
@given(moves=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 8)), max_size=30))
def test_there_are_never_two_leaders(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[int, float]]
) -> None:
    """Whoever asks, at whatever times: at the moment of an answer no other lease is valid."""
    folder = tmp_path_factory.mktemp("leases")
    database = Database.sqlite(folder / "leases.sqlite", Base.metadata)
    clock = Clock()
    three = [Leadership(database, seconds=10, clock=clock) for _ in range(3)]
    until = [0.0, 0.0, 0.0]
    for who, later in moves:
        clock.now += later
        if three[who].lead():
            assert all(until[n] <= clock.now for n in range(3) if n != who)
            until[who] = three[who]._until
    database.close()
