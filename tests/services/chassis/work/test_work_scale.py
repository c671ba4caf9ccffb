"""That what is asked of work units all the time does not read more of a larger table."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from services.chassis.work.units import DONE, RECORDED
from tests.support.chassis.work_units import WorkDatabase


@pytest.fixture
def work_db(tmp_path: Path) -> Iterator[WorkDatabase]:
    """SQLite says how it will answer; what it answers from an index, PostgreSQL can too."""
    made = WorkDatabase(f"sqlite:///{tmp_path / 'units.sqlite'}")
    made.add(*(f"u{n}" for n in range(20)))
    made.add(*(f"v{n}" for n in range(20)), subject="other")
    yield made
    made.database.close()


def plans(
    work_db: WorkDatabase, action: Callable[[], object], *, explain: str = "EXPLAIN QUERY PLAN"
) -> list[str]:
    """How the database answers every statement of an action, line by line."""
    engine: Any = work_db.database._engine
    ran: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, parameters: Any, *___: Any) -> None:
        ran.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    try:
        action()
    finally:
        event.remove(engine, "before_cursor_execute", note)
    with engine.connect() as connection:
        found = [
            row[-1]
            for statement, parameters in ran
            if not statement.startswith("BEGIN")
            for row in connection.exec_driver_sql(f"{explain} {statement}", parameters)
        ]
    assert found
    return found


def fan_in(work_db: WorkDatabase) -> None:
    with work_db.database.transaction() as session:
        assert work_db.units.unfinished(session, "job")


def in_hand(work_db: WorkDatabase) -> None:
    with work_db.database.reading() as session:
        list(work_db.units.in_hand(session, "job"))


def claim_and_complete(work_db: WorkDatabase) -> None:
    claim = work_db.units.claim("u3", owner="w")
    assert claim is not None
    assert work_db.units.heartbeat(claim, progress=1)
    assert work_db.complete(claim)


@pytest.mark.parametrize(
    "asked",
    [
        lambda work_db: work_db.units.waiting_subjects(),
        lambda work_db: work_db.units.waiting("job", after=(1.0, "u1")),
        lambda work_db: work_db.units.expired(),
        lambda work_db: work_db.units.claimable(),
        lambda work_db: work_db.units.ages(),
        lambda work_db: work_db.cancel(),
        fan_in,
        in_hand,
        claim_and_complete,
    ],
    ids=[
        "subjects", "waiting", "expired", "claimable", "ages", "cancel", "fan-in", "in-hand",
        "claim",
    ],
)  # fmt: skip
def test_what_is_asked_again_and_again_is_answered_from_an_index(
    work_db: WorkDatabase, asked: Callable[[WorkDatabase], object]
) -> None:
    """No statement goes through the table, and none sorts what it found."""
    for plan in plans(work_db, lambda: asked(work_db)):
        assert "SCAN work_units" not in plan, plan
        assert "TEMP B-TREE" not in plan or asked.__name__ == "<lambda>", plan


MANY = """
INSERT INTO work_units SELECT 'job-' || lpad(CAST(n AS text), 7, '0'), 't', 'job', '{}',
  CASE WHEN n < 20000 THEN 'recorded' WHEN n < 20500 THEN 'done' ELSE 'ready' END,
  1, '', 0, 1, 4, 1000 + n, '', '{}', 0
FROM generate_series(0, 39999) AS n
"""


def test_postgresql_finds_what_a_large_job_has_left_without_reading_what_is_done(
    postgres_url: str,
) -> None:
    """Half of the units wait, all behind the others: it must not look for any from the start."""
    work_db = WorkDatabase(postgres_url)
    with work_db.database.transaction() as session:
        session.execute(text(MANY))
        session.execute(text("ANALYZE work_units"))

    def record() -> None:
        with work_db.database.transaction() as session:
            work_db.units.record(session, [f"job-{n:07d}" for n in range(20000, 20100)])

    for asked in (fan_in, lambda _: record(), lambda _: work_db.units.waiting("job")):
        found = plans(work_db, lambda asked=asked: asked(work_db), explain="EXPLAIN")
        assert not [plan for plan in found if "Seq Scan" in plan], found
        assert not [plan for plan in found if "Filter: (id" in plan], found
    work_db.database.close()


def test_postgresql_finds_what_is_in_hand_while_its_statistics_are_old(postgres_url: str) -> None:
    """Nearly all were done when it last counted, and have been recorded since."""
    work_db = WorkDatabase(postgres_url)
    with work_db.database.transaction() as session:
        session.execute(text(MANY.replace("'recorded'", "'done'").replace("'ready'", "'done'")))
        session.execute(text("ANALYZE work_units"))
    with work_db.database.transaction() as session:
        session.execute(text("UPDATE work_units SET state = 'recorded'"))
    found = plans(work_db, lambda: in_hand(work_db), explain="EXPLAIN")
    assert not [plan for plan in found if "Seq Scan" in plan], found
    work_db.database.close()


def test_units_are_added_in_one_statement_for_all(work_db: WorkDatabase) -> None:
    """A page of a thousand is one round trip, in the order of the ids."""
    engine: Any = work_db.database._engine
    many: list[bool] = []

    def note(_: Any, __: Any, statement: str, ___: Any, ____: Any, executemany: bool) -> None:
        if statement.startswith("INSERT"):
            many.append(executemany)

    event.listen(engine, "before_cursor_execute", note)
    work_db.add(*(f"w{n:04d}" for n in range(1000)), subject="new")
    assert many == [True]
    waiting = work_db.units.waiting("new", limit=2000)
    assert [unit.unit_id for unit in waiting] == [f"w{n:04d}" for n in range(1000)]


def test_a_done_unit_is_counted_once(work_db: WorkDatabase) -> None:
    """Two that sum up a subject at once do not both count it."""
    claim = work_db.units.claim("u1", owner="w")
    assert claim is not None
    work_db.complete(claim, captioned=3)
    with work_db.database.transaction() as session:
        assert work_db.units.record(session, ["u1", "u2"]) == [{"captioned": 3}]
        assert work_db.units.record(session, ["u1", "u2"]) == []
    with work_db.database.transaction() as session:
        counts = work_db.units.counts(session, "job")
        assert (counts[RECORDED], counts.get(DONE, 0)) == (1, 0)
        assert session.execute(text("SELECT count(*) FROM work_units")).scalar() == 40
