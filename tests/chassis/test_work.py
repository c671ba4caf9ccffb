from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from services.chassis.work.units import CANCELLED, DONE, FAILED, LEASED, READY, Claim
from tests.chassis.units import Bench


@pytest.fixture
def bench(database_url: str) -> Iterator[Bench]:
    made = Bench(database_url)
    made.add("u1")
    yield made
    made.database.close()


def claimed(claim: Claim | None) -> Claim:
    assert claim is not None
    return claim


def test_each_claim_has_a_fence_one_higher_than_the_last(bench: Bench) -> None:
    """The fence is what tells a late worker from the present one."""
    first = claimed(bench.lapsing.claim("u1", owner="a"))
    second = claimed(bench.units.claim("u1", owner="b"))
    assert (first.fence, second.fence) == (1, 2)


def test_a_unit_that_is_leased_cannot_be_claimed(bench: Bench) -> None:
    """The second worker is told that there is nothing for it."""
    claimed(bench.units.claim("u1", owner="a"))
    assert bench.units.claim("u1", owner="b") is None


def test_of_many_workers_that_claim_at_once_one_gets_the_unit(bench: Bench) -> None:
    """Claiming is one statement, so threads cannot both win."""
    got: list[Claim | None] = []
    threads = [
        threading.Thread(target=lambda n=n: got.append(bench.units.claim("u1", owner=str(n))))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(got) == 8
    assert sum(claim is not None for claim in got) == 1


def test_many_workers_share_many_units_without_taking_one_twice(bench: Bench) -> None:
    """Eight workers go through the same fifty units; each is had by one of them."""
    units = [f"many-{number:02d}" for number in range(50)]
    bench.add(*units)

    def work(owner: str) -> list[str]:
        return [unit for unit in units if bench.units.claim(unit, owner=owner) is not None]

    with ThreadPoolExecutor(8) as workers:
        taken = list(workers.map(work, "abcdefgh"))
    assert sorted(unit for units in taken for unit in units) == units


def test_what_is_in_hand_is_leased_or_done_and_comes_in_pages(bench: Bench) -> None:
    """Neither what waits nor what is recorded, and each unit once."""
    bench.add("u2", "u3", "u4", "u5")
    bench.add("other", subject="another")
    for unit in ("u1", "u2", "u3", "other"):
        bench.complete(claimed(bench.units.claim(unit, owner="w")), captioned=int(unit == "u3"))
    leased = claimed(bench.units.claim("u4", owner="w"))
    assert bench.units.heartbeat(leased, progress=7)
    with bench.database.transaction() as session:
        bench.units.record(session, ["u1"])
    for page in (1, 2, 3):
        with bench.database.reading() as session:
            held = list(bench.units.in_hand(session, "job", page=page))
        assert [state for state, *_ in held] == [LEASED, DONE, DONE]
        assert held[0][2] == 7
        assert [result for _, result, _ in held[1:]] == [{"captioned": 0}, {"captioned": 1}]


def test_a_reader_sees_one_moment(bench: Bench) -> None:
    """What is committed meanwhile it sees the next time, not in the middle of its sums."""
    with bench.database.reading() as session:
        before = bench.units.counts(session, "job")
        bench.add("u2")
        assert bench.units.counts(session, "job") == before == {READY: 1}
    with bench.database.reading() as session:
        assert bench.units.counts(session, "job") == {READY: 2}


def test_two_requests_that_add_the_same_units_at_once_both_succeed(bench: Bench) -> None:
    """A client that repeats itself too soon sees no error, and each unit is there once."""
    units = [f"same-{number:02d}" for number in range(20)]
    with ThreadPoolExecutor(4) as requests:
        list(requests.map(lambda order: bench.add(*order), [units, units[::-1]] * 4))
    with bench.database.transaction() as session:
        assert bench.units.counts(session, "job") == {READY: 21}


def test_cancelling_and_retrying_at_once_never_deadlocks(bench: Bench) -> None:
    """Changes of many rows take them in one order."""
    bench.add(*(f"many-{number:02d}" for number in range(50)))
    with ThreadPoolExecutor(8) as requests:
        list(requests.map(lambda _: bench.cancel(), range(16)))
    with bench.database.transaction() as session:
        assert bench.units.counts(session, "job") == {CANCELLED: 51}


def test_a_worker_whose_lease_ran_out_cannot_complete_what_another_took_over(
    bench: Bench,
) -> None:
    """The stale worker loses quietly and the present one's result stands."""
    stale = claimed(bench.lapsing.claim("u1", owner="a"))
    present = claimed(bench.units.claim("u1", owner="b"))
    assert not bench.complete(stale, who="a")
    assert bench.complete(present, who="b")
    assert bench.row("u1").result == {"who": "b"}


def test_a_late_worker_may_complete_what_nobody_took_over(bench: Bench) -> None:
    """An expired lease is an offer to others, not a loss by itself."""
    late = claimed(bench.lapsing.claim("u1", owner="a"))
    assert bench.complete(late)
    assert bench.row("u1").state == DONE


def test_a_unit_is_completed_once(bench: Bench) -> None:
    """The same claim cannot complete twice, nor can a completed unit be claimed."""
    claim = claimed(bench.units.claim("u1", owner="a"))
    assert [bench.complete(claim), bench.complete(claim)] == [True, False]
    assert bench.units.claim("u1", owner="b") is None


def test_completion_is_undone_with_the_transaction_that_it_belongs_to(bench: Bench) -> None:
    """What a unit made and that it is done are committed together or not at all."""
    claim = claimed(bench.units.claim("u1", owner="a"))

    def complete_and_stumble() -> None:
        with bench.database.transaction() as session:
            assert bench.units.complete(session, claim, {})
            raise RuntimeError("the service's own rows could not be written")

    with pytest.raises(RuntimeError, match="own rows"):
        complete_and_stumble()
    assert bench.complete(claim)


def test_a_failed_unit_waits_before_it_is_ready_again(bench: Bench) -> None:
    """Failing gives the unit back, with the reason, after a pause that grows."""
    pauses = []
    for _ in range(3):
        claim = claimed(bench.units.claim("u1", owner="a"))
        before = time.time()
        bench.units.fail(claim, "disk full")
        assert bench.units.claim("u1", owner="b") is None
        row = bench.row("u1")
        assert (row.state, row.error) == (READY, "disk full")
        pauses.append(round(row.not_before - before))
        bench.pass_backoff()
    assert pauses == [1, 2, 4]


def test_a_unit_fails_for_good_after_its_last_attempt(bench: Bench) -> None:
    """A unit that cannot succeed does not go round for ever."""
    for _ in range(4):
        bench.units.fail(claimed(bench.units.claim("u1", owner="a")), "no such file")
        bench.pass_backoff()
    assert bench.row("u1").state == FAILED
    assert bench.units.claim("u1", owner="a") is None


def test_a_unit_whose_workers_all_vanish_fails_for_good(bench: Bench) -> None:
    """A unit that kills its worker spends its attempts too, though nobody reports it."""
    for _ in range(4):
        claimed(bench.lapsing.claim("u1", owner="a"))
    assert bench.units.claim("u1", owner="a") is None
    row = bench.row("u1")
    assert row.state == FAILED
    assert "lease" in row.error


def test_a_permanent_failure_takes_one_attempt(bench: Bench) -> None:
    """What cannot succeed is not tried again."""
    bench.units.fail(claimed(bench.units.claim("u1", owner="a")), "malformed", final=True)
    assert bench.row("u1").state == FAILED


def test_a_stale_worker_cannot_fail_what_another_took_over(bench: Bench) -> None:
    """Its failure is its own."""
    stale = claimed(bench.lapsing.claim("u1", owner="a"))
    present = claimed(bench.units.claim("u1", owner="b"))
    bench.units.fail(stale, "killed", final=True)
    assert bench.complete(present)


def test_a_heartbeat_keeps_the_lease_and_tells_the_progress(bench: Bench) -> None:
    """After a heartbeat an almost expired unit is not to be had."""
    claim = claimed(bench.lapsing.claim("u1", owner="a"))
    assert bench.units.heartbeat(claim, progress=7)
    assert bench.units.claim("u1", owner="b") is None
    assert bench.row("u1").progress == 7


def test_only_the_present_holder_holds_a_unit(bench: Bench) -> None:
    """Asked in the transaction that writes what the holder made."""
    stale = claimed(bench.lapsing.claim("u1", owner="a"))
    present = claimed(bench.units.claim("u1", owner="b"))
    with bench.database.transaction() as session:
        assert not bench.units.holds(session, stale)
        assert bench.units.holds(session, present)


def test_cancelling_takes_the_unit_from_its_holder(bench: Bench) -> None:
    """The holder learns of it at its next heartbeat, and cannot complete."""
    claim = claimed(bench.units.claim("u1", owner="a"))
    bench.cancel()
    assert not bench.units.heartbeat(claim)
    assert not bench.complete(claim)
    assert bench.row("u1").state == CANCELLED


def test_cancelling_leaves_other_subjects_and_finished_units_alone(bench: Bench) -> None:
    """Only what belongs to the subject and is not done is stopped."""
    bench.add("other", subject="another job")
    bench.complete(claimed(bench.units.claim("u1", owner="a")))
    bench.cancel()
    assert (bench.row("u1").state, bench.row("other").state) == (DONE, READY)


def test_adding_a_unit_again_leaves_it_as_it_is(bench: Bench) -> None:
    """A request that is repeated does not start finished work anew."""
    bench.complete(claimed(bench.units.claim("u1", owner="a")))
    bench.add("u1", "u2")
    assert (bench.row("u1").state, bench.row("u2").state) == (DONE, READY)


def test_what_waits_is_ready_or_expired_and_what_was_given_up_comes_first(bench: Bench) -> None:
    """It is exactly what a worker could claim."""
    bench.add("u3", "u2", "u4")
    claimed(bench.units.claim("u1", owner="a"))
    claimed(bench.lapsing.claim("u3", owner="a"))
    bench.units.postpone(claimed(bench.units.claim("u4", owner="a")), "later", seconds=60)
    assert bench.units.claimable() == [("u3", "t"), ("u2", "t")]


def test_a_restart_gives_back_what_the_dead_process_held(bench: Bench) -> None:
    """The only process of a workspace takes its units up at once, and no attempt is counted."""
    stale = claimed(bench.units.claim("u1", owner="dead"))
    bench.units.release_all()
    again = claimed(bench.units.claim("u1", owner="b"))
    assert (again.fence, again.attempt) == (stale.fence + 1, stale.attempt)
    assert not bench.complete(stale)


def test_counts_add_up_by_state(bench: Bench) -> None:
    """The fan-in asks how many units of a subject are in which state."""
    bench.add("u2", "u3")
    bench.complete(claimed(bench.units.claim("u1", owner="a")))
    with bench.database.transaction() as session:
        assert bench.units.counts(session, "job") == {DONE: 1, READY: 2}


@pytest.mark.parametrize("wrong", [3600.0, -3600.0])
def test_a_wrong_clock_neither_takes_leases_nor_gives_ended_ones(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch, wrong: float
) -> None:
    """PostgreSQL's clock is everybody's; SQLite is used on one machine."""
    bench, true = Bench(postgres_url), time.time
    bench.add("u1", "u2")
    assert bench.units.claim("u1", owner="right") is not None
    monkeypatch.setattr("time.time", lambda: true() + wrong)
    assert bench.units.claim("u1", owner="wrong") is None
    assert bench.units.claim("u2", owner="wrong") is not None
    bench.add("u3")
    monkeypatch.setattr("time.time", true)
    assert bench.units.claim("u2", owner="right") is None
    assert bench.units.claim("u3", owner="right") is not None
    bench.database.close()
