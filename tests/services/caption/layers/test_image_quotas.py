"""Images per day: a layer over the quota waits and says so; a direct request is told when."""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.caption.context import CaptionContext
from services.caption.jobs.days import day_of, next_day, spent
from services.caption.jobs.quotas import ImageQuotas
from services.caption.tables import Base
from services.chassis.storage.database import Database
from services.chassis.web.errors import TooManyRequests
from services.chassis.work.queue_inprocess import InProcessQueue
from tests.support.caption_platform import CaptionPlatform, caption_platform
from tests.support.datasets.samples import image
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.schemas.rest.caption import CaptionJob, CaptionsIn, PreviewIn
from vila2.schemas.rest.identity import Limits, LimitsIn

TIMES = st.floats(0, 4e9)
TEAM = "local"


@given(TIMES)
def test_the_next_day_is_another_and_less_than_a_day_away(now: float) -> None:
    assert day_of(next_day(now)) > day_of(now)
    assert day_of(next_day(now) - 1) == day_of(now)
    assert 0 < next_day(now) - now <= 86400


@given(st.integers(0, 10**9), st.integers(0, 10**9) | st.none(), TIMES)
def test_a_team_waits_when_nothing_is_left_and_is_told_until_when(
    used: int, most: int | None, now: float
) -> None:
    found = spent(used, most, now)
    assert (found is not None) == (most is not None and used >= most)
    if found is not None:
        assert found.until == next_day(now)
        assert found.why.startswith("waiting until")


@pytest.fixture(scope="module")
def captioning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptionPlatform]:
    with caption_platform(tmp_path_factory.mktemp("captioning"), shard_samples=2) as made:
        yield made


class Service:
    """A caption service without its background work: the test takes each step."""

    def __init__(
        self, captioning: CaptionPlatform, folder: Path, *, images_per_day: int | None
    ) -> None:
        self.limits = Limits(images_per_day=images_per_day)
        self.context = CaptionContext(
            database=Database.sqlite(folder / "caption.sqlite", Base.metadata),
            objects=captioning.objects,
            queue=InProcessQueue(),
            platform=lambda _: captioning.client,
            limits=lambda _: self.limits,
        )

    def start(self, captioning: CaptionPlatform, token: str) -> str:
        return self.context.jobs.start(TEAM, captioning.job(), token).id

    def job(self, job: str) -> CaptionJob:
        return self.context.jobs.get(TEAM, job)

    def shard(self) -> bool:
        """A worker takes one shard, where there is one to take."""
        return any(self.context.worker.take(u) for u, _ in self.context.units.claimable(limit=1))

    def tick(self) -> None:
        self.context.jobs.steps.take_all()


def test_a_layer_that_reaches_the_quota_waits_and_goes_on_when_it_is_raised(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    """It stays running, keeps what is captioned, and says why it stands and until when."""
    service = Service(captioning, tmp_path, images_per_day=2)
    job = service.start(captioning, "reaches")
    assert service.shard()
    service.tick()
    told = service.job(job)
    assert (told.state, told.progress.done, service.shard()) == ("running", 2, False)
    assert told.progress.phase.startswith("waiting until")
    assert "has captioned its 2 images of today" in told.progress.phase
    assert told.waiting_until == pytest.approx(next_day(time.time()))
    service.limits = Limits(images_per_day=100)
    service.tick()
    assert (service.job(job).progress.phase, service.job(job).waiting_until) == ("captioning", None)
    while service.shard():
        pass
    service.tick()
    assert (service.job(job).state, service.context.quotas.get(TEAM).images_today) == ("sealed", 5)


def test_a_layer_of_a_team_with_nothing_left_begins_no_shard(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    """It is taken on all the same."""
    service = Service(captioning, tmp_path, images_per_day=0)
    job = service.start(captioning, "nothing")
    assert not service.shard()
    assert "may caption no images" in service.job(job).progress.phase


def test_a_layer_that_ends_with_the_quota_is_sealed(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    """What needs no more images has nothing to wait for."""
    service = Service(captioning, tmp_path, images_per_day=5)
    job = service.start(captioning, "ends")
    while service.shard():
        pass
    service.tick()
    assert service.job(job).state == "sealed"


def test_a_waiting_layer_that_is_paused_and_resumed_still_waits(
    captioning: CaptionPlatform, tmp_path: Path
) -> None:
    service = Service(captioning, tmp_path, images_per_day=0)
    job = service.start(captioning, "paused")
    service.context.control.pause(TEAM, job)
    service.context.control.resume(TEAM, job)
    assert not service.shard()
    service.limits = Limits()
    service.tick()
    assert service.shard()


def test_a_direct_request_over_the_quota_is_told_when_to_come_back(
    captioning: CaptionPlatform,
) -> None:
    """429 with the seconds to midnight, at once; it counts nothing."""
    url = f"data:image/png;base64,{base64.b64encode(image(0)).decode()}"
    body = CaptionsIn(model=captioning.model, images=[url], prompts=["What is this?"])
    used = captioning.client.caption.quota().images_today
    captioning.client.identity.set_limits(TEAM, LimitsIn(images_per_day=used + 1))
    try:
        assert captioning.client.caption.captions(body).captions
        with pytest.raises(ApiError, match="1 more are too many today") as refused:
            captioning.client.caption.captions(body)
        with pytest.raises(ApiError, match="are too many today"):
            captioning.client.caption.preview(PreviewIn(keys=["p1"], **captioning.asked()))
        assert refused.value.problem.status == 429
        left = next_day(time.time()) - time.time()
        assert refused.value.retry_after == pytest.approx(left, abs=5)
        assert captioning.client.caption.quota().images_today == used + 1
    finally:
        captioning.client.identity.set_limits(TEAM, LimitsIn())


def test_a_limit_that_is_set_holds_the_running_service_back(captioning: CaptionPlatform) -> None:
    """Through the routes, with the service's own loops."""
    captioning.client.identity.set_limits(TEAM, LimitsIn(images_per_day=0))
    try:
        job = captioning.client.caption.start_job(captioning.job()).id
        time.sleep(0.5)
        told = captioning.client.caption.job(job)
        assert (told.state, told.progress.done) == ("running", 0)
    finally:
        captioning.client.identity.set_limits(TEAM, LimitsIn())
    until(lambda: captioning.client.caption.job(job).state == "sealed", seconds=60)


def test_requests_at_once_together_get_no_more_than_the_quota(database_url: str) -> None:
    database = Database.open(database_url, Base.metadata)
    quotas = ImageQuotas(database, lambda _: Limits(images_per_day=20))

    def admitted(_: int) -> bool:
        try:
            quotas.admit(TEAM, 3)
        except TooManyRequests:
            return False
        return True

    with ThreadPoolExecutor(8) as requests:
        assert sum(requests.map(admitted, range(16))) == 6
    assert quotas.get(TEAM).images_today == 18
    database.close()
