"""Starting a job once, whatever dies in between and whoever else dispatches."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from tests.support.training.training_service import Service
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.schemas.rest.problem import Problem


def killed_at(point: str, folder: Path, *, cancel: bool = False) -> None:
    """A dispatcher in a process of its own that dies at a crashpoint."""
    child = os.fork()
    if child == 0:
        try:
            os.environ["VILA2_CRASHPOINT"] = point
            service = Service(folder)
            for _ in range(600):
                service.tick()
                if cancel and (running := service.jobs.rows("running")):
                    service.jobs.cancel("local", running[0].id)
        finally:  # an exception must not reach pytest, which would go on in the child
            os._exit(1)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL


@pytest.mark.parametrize(
    "point", ["job.claimed", "job.specified", "job.submitted", "job.registered"]
)
def test_a_dispatcher_that_dies_anywhere_starts_a_job_once(service: Service, point: str) -> None:
    """The next one takes it over; one attempt is counted, and one model registered."""
    job = service.submit("succeed")
    killed_at(point, service.folder)
    done = service.until(job, "succeeded")
    assert (done.attempt, len(service.starts(job))) == (1, 1)
    assert [model.job for model in service.context.registry.of_team("local")] == [job]
    (used,) = service.context.accounts.usage("local", "team")
    assert (used.jobs, used.attempts) == (1, 1)


def test_a_dispatcher_that_dies_after_stopping_a_job_leaves_nothing_open(service: Service) -> None:
    """Its slot is free and its hours are no longer counted."""
    job = service.submit("sleep")
    killed_at("job.stopped", service.folder, cancel=True)
    service.tick()
    assert service.job(job).state == "cancelled"
    assert service.jobs.unwanted() == []
    before = service.context.accounts.usage("local", "team")
    assert service.context.accounts.usage("local", "team") == before
    after = service.submit("succeed", token="after")
    assert service.until(after, "succeeded")


def test_a_job_that_another_is_starting_is_left_to_it(service: Service) -> None:
    """Until its lease has run out."""
    job = service.submit("succeed")
    service.context.claims._lease = 3600.0
    assert service.context.claims.next() is not None
    later = Service(service.folder)
    later.tick()
    assert (later.job(job).state, later.starts(job)) == ("starting", [])
    service.context.claims.release_all()
    assert later.until(job, "succeeded").attempt == 1


def test_whoever_lost_its_lease_does_not_start_the_job(service: Service) -> None:
    """It looks again just before it submits."""
    service.submit("succeed")
    held = service.context.claims.next()
    assert held is not None
    until(lambda: (taken := service.context.claims.left_behind()) is not None and bool(taken))
    assert not service.context.claims.renew(held)


def test_dispatchers_at_once_share_the_slots_and_start_each_job_once(service: Service) -> None:
    """Three of them, two slots, four jobs."""
    several = [Service(service.folder, slots=2, lease_seconds=60) for _ in range(3)]
    jobs = [service.submit("succeed", token=str(n)) for n in range(4)]
    most = 0

    def dispatch(one: Service) -> None:
        nonlocal most
        while any(one.job(job).state != "succeeded" for job in jobs):
            one.tick()
            most = max(most, len(one.jobs.rows("starting", "running")))

    threads = [threading.Thread(target=dispatch, args=(one,)) for one in several]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert [len(service.starts(job)) for job in jobs] == [1] * 4
    assert most <= 2


def test_a_job_that_is_cancelled_while_it_starts_is_stopped(service: Service) -> None:
    """Nobody knew its handle yet."""
    job = service.submit("sleep")
    claimed = service.context.claims.next()
    assert claimed is not None
    cancelled = service.jobs.cancel("local", job)
    assert (cancelled.state, cancelled.progress.phase) == ("cancelled", "stopping")
    until(lambda: not service.tick() and service.jobs.row("local", job).state == "cancelled")
    until(lambda: not service.tick() and not service.jobs.unwanted())


def test_a_backend_that_is_away_makes_a_job_wait_and_not_fail(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again when the lease has run out."""
    backend = service.context.dispatcher._backend
    submit = backend.submit

    def away(key: str, command: object) -> str:
        raise OSError("no route to the scheduler")

    monkeypatch.setattr(backend, "submit", away)
    job = service.submit("succeed")
    service.tick()
    waits = service.job(job)
    assert (waits.state, "no route" in waits.progress.phase) == ("starting", True)
    monkeypatch.setattr(backend, "submit", submit)
    assert service.until(job, "succeeded").attempt == 1


@pytest.mark.parametrize(("status", "state"), [(503, "starting"), (404, "failed")])
def test_a_service_that_is_unwell_makes_a_job_wait_and_one_that_refuses_fails_it(
    service: Service, monkeypatch: pytest.MonkeyPatch, status: int, state: str
) -> None:
    def refuse(*_: object) -> None:
        problem = Problem(type="about:blank", title="no", status=status, detail="not now")
        raise ApiError(problem)

    monkeypatch.setattr(service.context.dispatcher, "_command", refuse)
    job = service.submit("succeed")
    service.tick()
    assert service.job(job).state == state


def test_time_to_come_has_no_hours(service: Service) -> None:
    """A job that runs has begun before it: its hours were negative."""
    service.submit("sleep")
    service.tick()
    assert service.context.accounts.usage("local", "team", since=time.time() + 3600) == []
    assert service.context.accounts.usage("local", "team", since=1e308) == []
