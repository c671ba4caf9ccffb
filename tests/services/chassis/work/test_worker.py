from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from services.chassis.work.queue_inprocess import InProcessQueue
from services.chassis.work.units import CANCELLED, DONE, FAILED, LEASED, READY, Claim
from services.chassis.work.worker import PermanentError, Report, Run, Worker
from tests.support.chassis.work_units import WorkDatabase
from vila2.client import Unreachable


@pytest.fixture
def work_db(database_url: str) -> Iterator[WorkDatabase]:
    made = WorkDatabase(database_url)
    yield made
    made.database.close()


@pytest.fixture
def started(work_db: WorkDatabase) -> Iterator[Callable[[Run], Worker]]:
    """Start a worker around a task; it is stopped at the end."""
    workers = []

    def start(task: Run) -> Worker:
        worker = Worker(work_db.units, InProcessQueue(), {"t": task})
        worker.start()
        workers.append(worker)
        return worker

    yield start
    for worker in workers:
        worker.stop()


def until(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def completing(work_db: WorkDatabase) -> Run:
    def task(claim: Claim, report: Report) -> None:
        report(1)
        work_db.complete(claim, done=True)

    return task


def test_every_unit_that_waits_is_done_without_anybody_publishing_it(
    work_db: WorkDatabase, started: Callable[[Run], Worker]
) -> None:
    """Rows are the outbox: also those of an earlier process are taken up."""
    work_db.add(*[f"u{n}" for n in range(5)])
    started(completing(work_db))
    until(lambda: all(work_db.row(f"u{n}").state == DONE for n in range(5)))


def test_an_error_gives_the_unit_back_with_its_words(
    work_db: WorkDatabase, started: Callable[[Run], Worker]
) -> None:
    """The type says as much as the message."""

    def stumble(_: Claim, __: Report) -> None:
        raise OSError("disk full")

    work_db.add("u1")
    started(stumble)
    until(lambda: work_db.row("u1").error == "OSError: disk full")
    assert work_db.row("u1").state in (READY, LEASED)


def test_a_permanent_error_ends_the_unit_at_once(
    work_db: WorkDatabase, started: Callable[[Run], Worker]
) -> None:
    """What cannot succeed is tried once."""

    def refuse(_: Claim, __: Report) -> None:
        raise PermanentError("the tar is cut")

    work_db.add("u1")
    started(refuse)
    until(lambda: work_db.row("u1").state == FAILED)
    assert (work_db.row("u1").attempts, work_db.row("u1").error) == (1, "the tar is cut")


def test_progress_is_told_while_a_unit_runs_and_the_lease_is_kept(
    work_db: WorkDatabase, started: Callable[[Run], Worker]
) -> None:
    """A watcher sees how far a long unit is."""
    go_on = threading.Event()

    def slow(claim: Claim, report: Report) -> None:
        report(41)
        go_on.wait(10)
        work_db.complete(claim)

    work_db.add("u1")
    started(slow)
    try:
        until(lambda: work_db.row("u1").progress == 41)
        assert work_db.row("u1").lease_until > time.time() + 30
    finally:
        go_on.set()
    until(lambda: work_db.row("u1").state == DONE)


def test_a_unit_that_is_cancelled_while_it_runs_stays_cancelled(
    work_db: WorkDatabase, started: Callable[[Run], Worker]
) -> None:
    """The worker's completion comes too late."""
    begun, go_on, outcome = threading.Event(), threading.Event(), []

    def slow(claim: Claim, _: Report) -> None:
        begun.set()
        go_on.wait(10)
        outcome.append(work_db.complete(claim))

    work_db.add("u1")
    started(slow)
    assert begun.wait(10)
    work_db.cancel()
    go_on.set()
    until(lambda: bool(outcome))
    assert outcome == [False]
    assert work_db.row("u1").state == CANCELLED


def test_two_workers_on_one_table_do_each_unit_once(
    work_db: WorkDatabase, started: Callable[[Run], Worker]
) -> None:
    """Hints are doubled, work is not."""
    ran: list[str] = []

    def task(claim: Claim, _: Report) -> None:
        ran.append(claim.unit_id)
        work_db.complete(claim)

    units = [f"u{n}" for n in range(8)]
    work_db.add(*units)
    started(task)
    started(task)
    until(lambda: all(work_db.row(unit).state == DONE for unit in units))
    assert sorted(ran) == units


def test_a_worker_that_no_hint_reaches_looks_for_itself(
    work_db: WorkDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker is away, and nobody relays: what waits in SQL is done all the same."""
    monkeypatch.setattr("services.chassis.work.worker.IDLE_SECONDS", 0.1)
    worker = Worker(work_db.units, InProcessQueue(), {"t": completing(work_db)})
    worker.start(relay=False)
    try:
        work_db.add("u1", "u2", "u3")
        until(lambda: all(work_db.row(f"u{n}").state == DONE for n in (1, 2, 3)))
    finally:
        worker.stop()


def test_a_unit_that_meets_a_server_that_is_away_loses_no_attempt(
    work_db: WorkDatabase, started: Callable[[Run], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is away: no number of attempts says anything about the unit."""
    monkeypatch.setattr("services.chassis.work.worker.POSTPONED_SECONDS", 0.0)
    tries = []

    def away(claim: Claim, _: Report) -> None:
        tries.append(claim.attempt)
        if len(tries) < 6:
            raise Unreachable("no answer")
        work_db.complete(claim)

    work_db.add("u1")
    started(away)
    until(lambda: work_db.row("u1").state == DONE, seconds=20)
    assert tries == [1] * 6


def test_a_unit_is_given_back_once_the_database_is_there_again(
    work_db: WorkDatabase, started: Callable[[Run], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else only the end of its lease would free it."""
    monkeypatch.setattr("services.chassis.work.worker.AGAIN_SECONDS", 0.05)
    away, postpone, tries = [True] * 3, work_db.units.postpone, []

    def postponed(*args: Any, **kwargs: Any) -> None:
        if away:
            away.pop()
            raise Unreachable("the database is away")
        postpone(*args, **kwargs)

    monkeypatch.setattr(work_db.units, "postpone", postponed)

    def fail_once(claim: Claim, _: Report) -> None:
        tries.append(claim.fence)
        if len(tries) == 1:
            raise Unreachable("no answer")
        work_db.complete(claim)

    monkeypatch.setattr("services.chassis.work.worker.POSTPONED_SECONDS", 0.0)
    work_db.add("u1")
    started(fail_once)
    until(lambda: work_db.row("u1").state == DONE, seconds=20)
    assert away == []


def test_a_heart_that_misses_a_beat_goes_on_beating(
    work_db: WorkDatabase, started: Callable[[Run], Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database may be away for a moment while a unit runs for minutes."""
    beats, heartbeat = [], work_db.units.heartbeat

    def sometimes(*args: Any, **kwargs: Any) -> bool:
        beats.append(len(beats))
        if len(beats) == 1:
            raise ConnectionError("the database is away")
        return heartbeat(*args, **kwargs)

    monkeypatch.setattr(work_db.units, "heartbeat", sometimes)

    def slow(claim: Claim, _: Report) -> None:
        until(lambda: len(beats) >= 2)
        work_db.complete(claim)

    work_db.add("u1")
    started(slow)
    until(lambda: work_db.row("u1").state == DONE, seconds=20)
