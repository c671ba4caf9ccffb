"""Quotas: what counts, until when a team waits, and who may set one."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.platform.embedded import EmbeddedPlatform
from services.training.queue.quotas import HOUR, Used, free_again, hours, window_start
from services.training.tables import AttemptRow
from tests.support.embedded_platform import client_with
from tests.support.training.training_service import Service
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.schemas.rest.training import JobIn, QuotaIn, TrainIn

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC).timestamp()
DAY = 24 * HOUR

uses = st.lists(
    st.builds(
        lambda ago, length, processes: Used(NOW - ago, NOW - ago + min(length, ago), processes),
        st.floats(0, 40 * DAY), st.floats(0, 5 * DAY), st.integers(1, 8),
    ),
    max_size=8,
)  # fmt: skip


def used(service: Service, hours: float, *, team: str = "local", unit: str = "process") -> None:
    """An attempt that has just ended: a minute of many processes, so that on the first of a month
    all of it is in the month."""
    now = time.time()
    with service.context._database.transaction() as session:
        session.add(
            AttemptRow(
                job=f"{team}-{unit}-{hours}", number=1, team=team, run="r", unit=unit,
                processes=round(60 * hours), started_at=now - HOUR / 60, ended_at=now,
                ended="succeeded",
            )
        )  # fmt: skip


def test_only_what_lies_in_the_window_counts() -> None:
    assert hours([Used(NOW - 3 * HOUR, NOW - HOUR, 4)], NOW - 2 * HOUR) == 4


def test_a_month_begins_on_its_first_day_and_ends_with_the_year_too() -> None:
    assert datetime.fromtimestamp(window_start("month", NOW), UTC).isoformat()[:10] == "2026-11-01"
    december = datetime(2026, 12, 31, 23, tzinfo=UTC).timestamp()
    again = free_again("month", 1.0, [], december)
    assert again is not None
    assert datetime.fromtimestamp(again, UTC).isoformat()[:10] == "2027-01-01"


@given(uses, st.floats(0.5, 50))
def test_a_rolling_quota_is_free_again_just_when_it_says(use: list[Used], limit: float) -> None:
    """A little before it is still used up, a little after it is not."""
    if hours(use, window_start("30d", NOW)) < limit:
        return
    at = free_again("30d", limit, use, NOW)
    assert at is not None
    assert at >= NOW
    assert hours(use, window_start("30d", at + 60)) < limit
    if at > NOW + 60:
        assert hours(use, window_start("30d", at - 60)) >= limit - 1e-6


def test_a_quota_of_nothing_is_never_free_again() -> None:
    assert free_again("30d", 0.0, [], NOW) is None


def test_a_team_over_its_quota_waits_and_is_told_until_when(service: Service) -> None:
    """Its jobs are taken and start as soon as the quota is raised."""
    used(service, 5.0)
    service.context.quotas.set("local", QuotaIn(process_hours=5), by="admin")
    job = service.submit("succeed")
    service.tick()
    waits = service.job(job)
    assert waits.state == "queued"
    assert waits.progress.phase.startswith("waiting until 20")
    assert waits.progress.phase.endswith("used its 5 process-hours of this month")
    service.context.quotas.set("local", QuotaIn(process_hours=50), by="admin")
    assert service.until(job, "succeeded")


def test_a_quota_of_one_team_holds_no_other_back(service: Service) -> None:
    used(service, 5.0)
    service.context.quotas.set("local", QuotaIn(process_hours=5), by="admin")
    service.submit("succeed", priority=9)
    other = service.submit("succeed", team="blue")
    until(lambda: not service.tick() and service.job(other, team="blue").state == "succeeded")


def test_gpu_hours_and_process_hours_are_apart(service: Service) -> None:
    used(service, 5.0, unit="gpu")
    service.context.quotas.set("local", QuotaIn(gpu_hours=5), by="admin")
    assert service.until(service.submit("succeed"), "succeeded")
    (told,) = service.context.accounts.usage("local", "team")
    assert told.gpu_hours == pytest.approx(5.0)
    assert 0 < told.process_hours < 1


def test_a_team_runs_no_more_jobs_at_once_than_its_quota(service: Service) -> None:
    wide = Service(service.folder, slots=4)
    wide.context.quotas.set("local", QuotaIn(max_jobs=1), by="admin")
    jobs = [wide.submit("sleep", token=str(n)) for n in range(2)]
    wide.tick()
    assert [wide.job(job).state for job in jobs] == ["running", "queued"]
    assert "its quota is 1 at once" in wide.job(jobs[1]).progress.phase


def test_usage_counts_every_attempt_by_processes_and_by_run(service: Service) -> None:
    """Also those that were interrupted, until they ended."""
    job = service.submit("sleep_once", processes=1, run="run-7")
    service.begun(job)
    time.sleep(0.3)
    service.context.dispatcher.interrupt()
    assert service.until(job, "succeeded")
    (told,) = service.context.accounts.usage("local", "run")
    assert (told.run, told.jobs, told.attempts) == ("run-7", 1, 2)
    assert told.process_hours * HOUR >= 0.3


def test_quotas_are_for_keys_with_their_scope(platform: EmbeddedPlatform) -> None:
    """A team sees its own; who may set them sees all."""
    red = client_with(platform, platform.identity.keys.issue(team="red")).training
    platform.client.training.set_quota("red", QuotaIn(gpu_hours=3, window="30d"))
    assert (red.quota().gpu_hours, red.quota().team) == (3, "red")
    for refused in (
        lambda: red.set_quota("red", QuotaIn()),
        lambda: red.quota("blue"),
        red.quotas,
        red.usage_of_all,
    ):
        with pytest.raises(ApiError, match="lacks the scope 'quotas:"):
            refused()
    assert [quota.team for quota in platform.client.training.quotas()] == ["red"]


@pytest.mark.usefixtures("made_jobs")
def test_teams_see_only_their_own_jobs_and_usage(platform: EmbeddedPlatform) -> None:
    mine, red = (
        platform.client.training,
        client_with(platform, platform.identity.keys.issue(team="red")).training,
    )
    train = TrainIn(init="new", preset="succeed")
    job = mine.submit(JobIn(name="a", train=train)).id
    until(lambda: mine.job(job).state == "succeeded")
    model = mine.job(job).model
    assert (list(red.jobs()), red.usage(), red.models()) == ([], [], [])
    for look in (
        lambda: red.retry(job),
        lambda: red.log_part(job),
        lambda: red.metrics(job),
        lambda: red.artifacts(job),
        lambda: red.artifact(job, "result.json"),
        lambda: red.model_details(model),
        lambda: red.model_card(model),
        lambda: red.serving(model),
        lambda: red.send("GET", f"models/{model}/files/weights"),
    ):
        with pytest.raises(ApiError) as refused:
            look()
        assert refused.value.problem.status == 404
