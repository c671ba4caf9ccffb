from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.chassis.work.units import CANCELLED, DONE, FAILED, LEASED, READY, Claim
from tests.support.chassis.work_units import WorkDatabase


@pytest.fixture
def work_db(database_url: str) -> Iterator[WorkDatabase]:
    made = WorkDatabase(database_url)
    made.add("u1")
    yield made
    made.database.close()


def claimed(claim: Claim | None) -> Claim:
    assert claim is not None
    return claim


def test_each_claim_has_a_fence_one_higher_than_the_last(work_db: WorkDatabase) -> None:
    """The fence is what tells a late worker from the present one."""
    first = claimed(work_db.lapsing.claim("u1", owner="a"))
    second = claimed(work_db.units.claim("u1", owner="b"))
    assert (first.fence, second.fence) == (1, 2)


def test_a_unit_that_is_leased_cannot_be_claimed(work_db: WorkDatabase) -> None:
    """The second worker is told that there is nothing for it."""
    claimed(work_db.units.claim("u1", owner="a"))
    assert work_db.units.claim("u1", owner="b") is None


def test_of_many_workers_that_claim_at_once_one_gets_the_unit(work_db: WorkDatabase) -> None:
    """Claiming is one statement, so threads cannot both win."""
    got: list[Claim | None] = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(work_db.units.claim("u1", owner=str(n))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert sum(claim is not None for claim in got) == 1


def test_many_workers_share_many_units_without_taking_one_twice(work_db: WorkDatabase) -> None:
    """Eight workers go through the same fifty units; each is had by one of them."""
    units = [f"many-{number:02d}" for number in range(50)]
    work_db.add(*units)

    def work(owner: str) -> list[str]:
        return [unit for unit in units if work_db.units.claim(unit, owner=owner) is not None]

    with ThreadPoolExecutor(8) as workers:
        taken = list(workers.map(work, "abcdefgh"))
    assert sorted(unit for units in taken for unit in units) == units


def test_what_is_in_hand_is_leased_or_done_and_comes_in_pages(work_db: WorkDatabase) -> None:
    """Neither what waits nor what is recorded, and each unit once."""
    work_db.add("u2", "u3", "u4", "u5")
    work_db.add("other", subject="another")
    for unit in ("u1", "u2", "u3", "other"):
        work_db.complete(claimed(work_db.units.claim(unit, owner="w")), captioned=int(unit == "u3"))
    leased = claimed(work_db.units.claim("u4", owner="w"))
    assert work_db.units.heartbeat(leased, progress=7)
    with work_db.database.transaction() as session:
        work_db.units.record(session, ["u1"])
    for page in (1, 2, 3):
        with work_db.database.reading() as session:
            held = list(work_db.units.in_hand(session, "job", page=page))
        assert [state for state, *_ in held] == [LEASED, DONE, DONE]
        assert held[0][2] == 7
        assert [result for _, result, _ in held[1:]] == [{"captioned": 0}, {"captioned": 1}]


def test_a_reader_sees_one_moment(work_db: WorkDatabase) -> None:
    """What is committed meanwhile it sees the next time, not in the middle of its sums."""
    with work_db.database.reading() as session:
        before = work_db.units.counts(session, "job")
        work_db.add("u2")
        assert work_db.units.counts(session, "job") == before == {READY: 1}
    with work_db.database.reading() as session:
        assert work_db.units.counts(session, "job") == {READY: 2}


def test_two_requests_that_add_the_same_units_at_once_both_succeed(work_db: WorkDatabase) -> None:
    """A client that repeats itself too soon sees no error, and each unit is there once."""
    units = [f"same-{number:02d}" for number in range(20)]
    with ThreadPoolExecutor(4) as requests:
        list(requests.map(lambda order: work_db.add(*order), [units, units[::-1]] * 4))
    with work_db.database.transaction() as session:
        assert work_db.units.counts(session, "job") == {READY: 21}


def test_cancelling_and_retrying_at_once_never_deadlocks(work_db: WorkDatabase) -> None:
    """Changes of many rows take them in one order."""
    work_db.add(*(f"many-{number:02d}" for number in range(50)))
    with ThreadPoolExecutor(8) as requests:
        list(requests.map(lambda _: work_db.cancel(), range(16)))
    with work_db.database.transaction() as session:
        assert work_db.units.counts(session, "job") == {CANCELLED: 51}


def test_a_worker_whose_lease_ran_out_cannot_complete_what_another_took_over(
    work_db: WorkDatabase,
) -> None:
    """The stale worker loses quietly and the present one's result stands."""
    stale = claimed(work_db.lapsing.claim("u1", owner="a"))
    present = claimed(work_db.units.claim("u1", owner="b"))
    assert not work_db.complete(stale, who="a")
    assert work_db.complete(present, who="b")
    assert work_db.row("u1").result == {"who": "b"}


def test_a_late_worker_may_complete_what_nobody_took_over(work_db: WorkDatabase) -> None:
    """An expired lease is an offer to others, not a loss by itself."""
    late = claimed(work_db.lapsing.claim("u1", owner="a"))
    assert work_db.complete(late)
    assert work_db.row("u1").state == DONE


def test_a_unit_is_completed_once(work_db: WorkDatabase) -> None:
    """The same claim cannot complete twice, nor can a completed unit be claimed."""
    claim = claimed(work_db.units.claim("u1", owner="a"))
    assert [work_db.complete(claim), work_db.complete(claim)] == [True, False]
    assert work_db.units.claim("u1", owner="b") is None


def test_completion_is_undone_with_the_transaction_that_it_belongs_to(
    work_db: WorkDatabase,
) -> None:
    """What a unit made and that it is done are committed together or not at all."""
    claim = claimed(work_db.units.claim("u1", owner="a"))

    def complete_and_stumble() -> None:
        with work_db.database.transaction() as session:
            assert work_db.units.complete(session, claim, {})
            raise RuntimeError("the service's own rows could not be written")

    with pytest.raises(RuntimeError, match="own rows"):
        complete_and_stumble()
    assert work_db.complete(claim)


def test_a_failed_unit_waits_before_it_is_ready_again(work_db: WorkDatabase) -> None:
    """Failing gives the unit back, with the reason, after a pause that grows."""
    pauses = []
    for _ in range(3):
        claim = claimed(work_db.units.claim("u1", owner="a"))
        before = time.time()
        work_db.units.fail(claim, "disk full")
        assert work_db.units.claim("u1", owner="b") is None
        row = work_db.row("u1")
        assert (row.state, row.error) == (READY, "disk full")
        pauses.append(round(row.not_before - before))
        work_db.pass_backoff()
    assert pauses == [1, 2, 4]


def test_a_unit_fails_for_good_after_its_last_attempt(work_db: WorkDatabase) -> None:
    """A unit that cannot succeed does not go round for ever."""
    for _ in range(4):
        work_db.units.fail(claimed(work_db.units.claim("u1", owner="a")), "no such file")
        work_db.pass_backoff()
    assert work_db.row("u1").state == FAILED
    assert work_db.units.claim("u1", owner="a") is None


def test_a_unit_whose_workers_all_vanish_fails_for_good(work_db: WorkDatabase) -> None:
    """A unit that kills its worker spends its attempts too, though nobody reports it."""
    for _ in range(4):
        claimed(work_db.lapsing.claim("u1", owner="a"))
    assert work_db.units.claim("u1", owner="a") is None
    row = work_db.row("u1")
    assert row.state == FAILED
    assert "lease" in row.error


def test_a_permanent_failure_takes_one_attempt(work_db: WorkDatabase) -> None:
    """What cannot succeed is not tried again."""
    work_db.units.fail(claimed(work_db.units.claim("u1", owner="a")), "malformed", final=True)
    assert work_db.row("u1").state == FAILED


def test_a_stale_worker_cannot_fail_what_another_took_over(work_db: WorkDatabase) -> None:
    """Its failure is its own."""
    stale = claimed(work_db.lapsing.claim("u1", owner="a"))
    present = claimed(work_db.units.claim("u1", owner="b"))
    work_db.units.fail(stale, "killed", final=True)
    assert work_db.complete(present)


def test_a_heartbeat_keeps_the_lease_and_tells_the_progress(work_db: WorkDatabase) -> None:
    """After a heartbeat an almost expired unit is not to be had."""
    claim = claimed(work_db.lapsing.claim("u1", owner="a"))
    assert work_db.units.heartbeat(claim, progress=7)
    assert work_db.units.claim("u1", owner="b") is None
    assert work_db.row("u1").progress == 7


def test_only_the_present_holder_holds_a_unit(work_db: WorkDatabase) -> None:
    """Asked in the transaction that writes what the holder made."""
    stale = claimed(work_db.lapsing.claim("u1", owner="a"))
    present = claimed(work_db.units.claim("u1", owner="b"))
    with work_db.database.transaction() as session:
        assert not work_db.units.holds(session, stale)
        assert work_db.units.holds(session, present)


def test_cancelling_takes_the_unit_from_its_holder(work_db: WorkDatabase) -> None:
    """The holder learns of it at its next heartbeat, and cannot complete."""
    claim = claimed(work_db.units.claim("u1", owner="a"))
    work_db.cancel()
    assert not work_db.units.heartbeat(claim)
    assert not work_db.complete(claim)
    assert work_db.row("u1").state == CANCELLED


def test_cancelling_leaves_other_subjects_and_finished_units_alone(work_db: WorkDatabase) -> None:
    """Only what belongs to the subject and is not done is stopped."""
    work_db.add("other", subject="another job")
    work_db.complete(claimed(work_db.units.claim("u1", owner="a")))
    work_db.cancel()
    assert (work_db.row("u1").state, work_db.row("other").state) == (DONE, READY)


def test_adding_a_unit_again_leaves_it_as_it_is(work_db: WorkDatabase) -> None:
    """A request that is repeated does not start finished work anew."""
    work_db.complete(claimed(work_db.units.claim("u1", owner="a")))
    work_db.add("u1", "u2")
    assert (work_db.row("u1").state, work_db.row("u2").state) == (DONE, READY)


def test_what_waits_is_ready_or_expired_and_what_was_given_up_comes_first(
    work_db: WorkDatabase,
) -> None:
    """It is exactly what a worker could claim."""
    work_db.add("u3", "u2", "u4")
    claimed(work_db.units.claim("u1", owner="a"))
    claimed(work_db.lapsing.claim("u3", owner="a"))
    work_db.units.postpone(claimed(work_db.units.claim("u4", owner="a")), "later", seconds=60)
    assert work_db.units.claimable() == [("u3", "t"), ("u2", "t")]


def test_a_restart_gives_back_what_the_dead_process_held(work_db: WorkDatabase) -> None:
    """The only process of a workspace takes its units up at once, and no attempt is counted."""
    stale = claimed(work_db.units.claim("u1", owner="dead"))
    work_db.units.release_all()
    again = claimed(work_db.units.claim("u1", owner="b"))
    assert (again.fence, again.attempt) == (stale.fence + 1, stale.attempt)
    assert not work_db.complete(stale)


def test_counts_add_up_by_state(work_db: WorkDatabase) -> None:
    """The fan-in asks how many units of a subject are in which state."""
    work_db.add("u2", "u3")
    work_db.complete(claimed(work_db.units.claim("u1", owner="a")))
    with work_db.database.transaction() as session:
        assert work_db.units.counts(session, "job") == {DONE: 1, READY: 2}


@pytest.mark.parametrize("wrong", [3600.0, -3600.0])
def test_a_wrong_clock_neither_takes_leases_nor_gives_ended_ones(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """PostgreSQL's clock is everybody's; SQLite is used on one machine."""
    work_db, true = WorkDatabase(postgres_url), time.time
    work_db.add("u1", "u2")
    assert work_db.units.claim("u1", owner="right") is not None
    monkeypatch.setattr("time.time", lambda: true() + wrong)
    assert work_db.units.claim("u1", owner="wrong") is None
    assert work_db.units.claim("u2", owner="wrong") is not None
    work_db.add("u3")
    monkeypatch.setattr("time.time", true)
    assert work_db.units.claim("u2", owner="right") is None
    assert work_db.units.claim("u3", owner="right") is not None
    work_db.database.close()
