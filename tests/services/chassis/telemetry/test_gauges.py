"""Metrics of what comes and goes, and a service's eye on what it stands on."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from services.chassis.telemetry.health_gauges import Watch
from services.chassis.telemetry.snapshot_gauge import Listed
from services.chassis.work.units import WorkUnits
from services.chassis.work.worker import Worker
from tests.support.chassis.work_units import Base, UnitRow
from tests.support.waiting import until


def value(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


def test_a_listed_gauge_shows_those_of_the_last_look_and_no_others() -> None:
    """A run that has ended leaves no series behind."""
    registry = CollectorRegistry()
    gauge = Listed("a_gauge", "It.", ["run"], registry=registry)
    gauge.show({("one",): 1.0, ("two",): 2.0})
    gauge.show({("two",): 3.0})
    told = generate_latest(registry).decode()
    assert 'a_gauge{run="two"} 3.0' in told
    assert "one" not in told


def test_a_listed_gauge_refuses_keys_that_do_not_fit_its_labels() -> None:
    gauge = Listed("another_gauge", "It.", ["run", "round"], registry=CollectorRegistry())
    with pytest.raises(ValueError, match="has the labels"):
        gauge.show({("one",): 1.0})


def test_a_database_that_does_not_answer_is_a_value() -> None:
    """And the gauge says so until it does."""
    broken = True

    def look() -> None:
        if broken:
            raise OSError("no route to host")

    watch = Watch("watched", look)
    watch.look_at_tables()
    assert value("vila2_database_up", service="watched") == 0
    assert value("vila2_looked_timestamp_seconds", service="watched") is None
    broken = False
    watch.look_at_tables()
    assert value("vila2_database_up", service="watched") == 1


def test_an_object_store_that_does_not_answer_is_a_value(tmp_path: Path) -> None:
    class Gone(DirectoryObjects):
        def exists(self, key: str) -> bool:
            raise OSError("no route to host")

    Watch("store", objects=Gone(tmp_path)).look_at_objects()
    assert value("vila2_object_store_up", service="store") == 0
    Watch("store", objects=DirectoryObjects(tmp_path)).look_at_objects()
    assert value("vila2_object_store_up", service="store") == 1


@pytest.fixture
def units(tmp_path: Path) -> WorkUnits:
    database = Database.sqlite(tmp_path / "units.sqlite", Base.metadata)
    made = WorkUnits(database, UnitRow, lease_seconds=0.2)
    with database.transaction() as session:
        made.add(session, [UnitRow(id="u", task="watched.task", subject="s", payload={})])
    return made


def test_a_unit_taken_from_a_silent_worker_counts_as_taken_over(units: WorkUnits) -> None:
    """One that failed and is tried again does not; the late one's end counts as a lost lease."""
    first = units.claim("u", owner="a")
    assert first is not None
    until(lambda: bool(units.expired()))
    second = units.claim("u", owner="b")
    assert second is not None
    assert (first.taken_over, second.taken_over) == (False, True)
    before = value("vila2_leases_lost_total", task="watched.task") or 0
    units.fail(first, "too late")
    units.fail(second, "in time")
    assert value("vila2_leases_lost_total", task="watched.task") == before + 1


def test_a_workers_counters_begin_at_nothing(units: WorkUnits) -> None:
    """What first appears as one has not increased, as Prometheus sees it."""
    from services.chassis.work.queue_inprocess import InProcessQueue

    Worker(units, InProcessQueue(), {"begins": lambda *_: None})
    for name in ("claimed", "redelivered"):
        assert value(f"vila2_units_{name}_total", task="begins") == 0
