from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import update

from services.caption.context import CaptionContext
from services.caption.engines.engine import EngineInfo, EngineUnavailable
from services.caption.tables import Base, WorkUnitRow
from services.chassis.storage.database import Database
from services.chassis.work.queue_inprocess import InProcessQueue
from services.chassis.work.units import Claim, WorkUnits
from tests.support.caption_platform import CaptionPlatform, caption_platform
from tests.support.waiting import until
from vila2.client import ApiError
from vila2.data.layers import decode_layer_shard
from vila2.schemas.rest.caption import PreviewIn

KEYS = [f"p{n}" for n in range(5)]


@pytest.fixture(scope="module")
def captioning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaptionPlatform]:
    with caption_platform(tmp_path_factory.mktemp("captioning")) as made:
        yield made


class Service:
    """A caption service without its background work: the test is the only worker."""

    def __init__(self, captioning: CaptionPlatform, folder: Path) -> None:
        database = Database.sqlite(folder / "caption.sqlite", Base.metadata)
        self.context = CaptionContext(
            database=database,
            objects=captioning.objects,
            queue=InProcessQueue(),
            platform=lambda _: captioning.client,
        )
        self.jobs = self.context.jobs
        self.lapsing = WorkUnits(database, WorkUnitRow, lease_seconds=-1.0)

    def claimed(self, units: WorkUnits, unit: str) -> Claim:
        claim = units.claim(unit, owner="w")
        assert claim is not None
        return claim

    def waiting(self) -> list[str]:
        return [unit for unit, _ in self.context.units.claimable()]


@pytest.fixture
def service(captioning: CaptionPlatform, tmp_path: Path) -> Service:
    return Service(captioning, tmp_path)


def ignore(_: int) -> None:
    """Progress that nobody watches."""


def test_a_job_captions_every_sample_and_seals_the_layer(captioning: CaptionPlatform) -> None:
    """Rows are the shard's samples in order; captioned and quarantined add up to all of them."""
    job = captioning.client.caption.start_job(captioning.job(), "all")
    until(lambda: captioning.client.caption.job(job.id).state != "running", seconds=60)
    done = captioning.client.caption.job(job.id)
    assert (done.state, done.error) == ("sealed", "")
    assert done.captioned + sum(done.quarantined.values()) == 5
    assert (done.progress.done, done.progress.total) == (5, 5)
    layer = captioning.client.datasets.layer(done.layer)
    assert (layer.captioned, layer.quarantined) == (done.captioned, done.quarantined)
    rows = [
        row.key
        for number in range(2)
        for row in decode_layer_shard(captioning.client.datasets.layer_content(layer.id, number))
    ]
    assert rows == KEYS
    assert captioning.client.caption.start_job(captioning.job(), "all").id == job.id


def test_a_preview_is_what_the_batch_makes(captioning: CaptionPlatform) -> None:
    """Same seed, same text, also for a sample that is previewed alone and in another order."""
    job = captioning.client.caption.start_job(captioning.job())
    until(lambda: captioning.client.caption.job(job.id).state == "sealed", seconds=60)
    batch = {
        row.key: (row.caption, row.reason, row.prompt, row.attempt)
        for number in range(2)
        for row in decode_layer_shard(captioning.client.datasets.layer_content(job.layer, number))
    }
    for keys in (["p4", "p1"], ["p2"]):
        preview = captioning.client.caption.preview(PreviewIn(keys=keys, **captioning.asked()))
        made = {c.key: (c.caption, c.reason, c.prompt, c.attempt) for c in preview.captions}
        assert list(made) == keys
        assert made == {key: batch[key] for key in keys}
    other = captioning.client.caption.preview(PreviewIn(keys=KEYS, **captioning.asked(seed=4)))
    assert [c.caption for c in other.captions] != [batch[key][0] for key in KEYS]


def test_what_is_not_there_is_refused_by_its_name(captioning: CaptionPlatform) -> None:
    """Model, dataset and sample, as a refusal and not as a broken service."""
    for fields, status in (({"model": "nobody"}, 404), ({"dataset": "owls"}, 404)):
        with pytest.raises(ApiError) as refused:
            captioning.client.caption.start_job(captioning.job(**fields))
        assert refused.value.problem.status == status
        assert next(iter(fields.values())) in refused.value.problem.detail
    with pytest.raises(ApiError, match="no sample 'p99'") as refused:
        captioning.client.caption.preview(PreviewIn(keys=["p1", "p99"], **captioning.asked()))
    assert (refused.value.problem.status, refused.value.problem.field) == (422, "keys")


def test_an_engine_that_does_not_answer_is_told_apart_from_a_broken_service(
    captioning: CaptionPlatform, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client may try again later."""

    def away(prefix: str) -> EngineInfo:
        raise EngineUnavailable("the inference server does not answer")

    monkeypatch.setattr(captioning.platform.apps["caption"].state.context.engines, "info", away)
    with pytest.raises(ApiError) as refused:
        captioning.client.caption.start_job(captioning.job())
    assert (refused.value.problem.status, refused.value.passing) == (503, True)


def test_a_worker_that_lost_its_lease_leaves_one_committed_output(
    captioning: CaptionPlatform, service: Service
) -> None:
    """The stale worker's file is its own and goes; the layer names the present worker's."""
    job = service.jobs.start("local", captioning.job())
    first, second = service.waiting()
    stale = service.claimed(service.lapsing, first)
    present = service.claimed(service.context.units, first)
    service.context.shards.run(present, ignore)
    service.context.shards.run(stale, ignore)
    service.context.shards.run(service.claimed(service.context.units, second), ignore)
    layer = captioning.client.datasets.layer(job.layer)
    assert (layer.state, service.jobs.get("local", job.id).state) == ("sealed", "sealed")
    held = [shard.object_key for shard in captioning.client.datasets.layer_shards(layer.id)]
    assert captioning.outputs(job.layer) == held
    assert held[0].endswith(f"-{present.fence}.parquet")


def test_a_worker_that_died_between_writing_and_completing_leaves_its_file_unnamed(
    captioning: CaptionPlatform, service: Service
) -> None:
    """What it wrote is under its own fence, so the next worker's output is not touched by it."""
    job = service.jobs.start("local", captioning.job())
    first, second = service.waiting()
    dead = service.claimed(service.lapsing, first)
    rest = f"layers/{job.layer}/000000-{dead.fence}.parquet"
    captioning.objects.put(rest, b"written by a worker that died before it could say so")
    for unit in (first, second):
        service.context.shards.run(service.claimed(service.context.units, unit), ignore)
    layer = captioning.client.datasets.layer(job.layer)
    assert layer.state == "sealed"
    held = [shard.object_key for shard in captioning.client.datasets.layer_shards(layer.id)]
    assert rest not in held
    assert all(decode_layer_shard(captioning.objects.get(key)) for key in held)


def test_a_job_with_a_shard_that_fails_for_good_fails_with_its_words(
    captioning: CaptionPlatform, service: Service
) -> None:
    """The layer stays open: no partial layer is ever sealed."""
    job = service.jobs.start("local", captioning.job())
    first, second = service.waiting()
    units = service.context.units
    units.fail(service.claimed(units, first), "the image is cut", final=True)
    service.context.shards.run(service.claimed(units, second), ignore)
    service.jobs.steps.take_all()
    failed = service.jobs.get("local", job.id)
    assert failed.state == "failed"
    assert "1 of 2 shards failed: the image is cut" in failed.error
    assert captioning.client.datasets.layer(job.layer).state == "open"


def test_a_seal_that_was_missed_is_made_up_for(
    captioning: CaptionPlatform, service: Service
) -> None:
    """A worker that died after its last shard leaves the seal to the settling loop."""
    job = service.jobs.start("local", captioning.job())
    units = service.context.units
    for unit in service.waiting():
        claim = service.claimed(units, unit)
        key = f"layers/{job.layer}/{int(claim.payload['shard']):06d}-{claim.fence}.parquet"
        captioning.objects.put(key, b"x")
        samples = 3 if claim.payload["shard"] == 0 else 2
        result = {"object_key": key, "sha256": "0" * 64, "captioned": samples, "quarantined": {}}
        with service.context._database.transaction() as session:
            assert units.complete(session, claim, result)
    assert service.jobs.get("local", job.id).state == "running"
    for _ in range(2):
        service.jobs.steps.take_all()
    assert service.jobs.get("local", job.id).state == "sealed"
    assert captioning.client.datasets.layer(job.layer).state == "sealed"


def by_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.caption.jobs.job_steps.PAGE", 1)


def test_a_job_with_more_shards_than_a_page_gets_its_units_page_by_page(
    captioning: CaptionPlatform, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Starting it adds the first; whoever takes the next step adds the rest, once."""
    by_ones(monkeypatch)
    job = service.jobs.start("local", captioning.job())
    assert len(service.waiting()) == 1
    for _ in range(3):
        service.jobs.steps.take_all()
    assert len(service.waiting()) == 2
    assert service.jobs.get("local", job.id).progress.total == 5


def test_a_job_is_not_settled_before_all_its_units_are_there(
    captioning: CaptionPlatform, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """That no unit waits does not mean that none is to come."""
    by_ones(monkeypatch)
    job = service.jobs.start("local", captioning.job())
    (first,) = service.waiting()
    service.context.shards.run(service.claimed(service.context.units, first), ignore)
    assert service.jobs.get("local", job.id).state == "running"
    service.jobs.steps.take_all()
    (second,) = service.waiting()
    service.context.shards.run(service.claimed(service.context.units, second), ignore)
    assert service.jobs.get("local", job.id).state == "sealed"


def test_what_is_captioned_is_in_the_layer_before_the_job_is_over(
    captioning: CaptionPlatform, service: Service
) -> None:
    """Recorded as it comes, so that the end of a large job is not another long job."""
    job = service.jobs.start("local", captioning.job())
    first = service.waiting()[0]
    service.context.shards.run(service.claimed(service.context.units, first), ignore)
    service.jobs.steps.take_all()
    layer = captioning.client.datasets.layer(job.layer)
    assert (layer.state, layer.recorded) == ("open", 1)
    held = service.jobs.get("local", job.id)
    assert held.captioned + sum(held.quarantined.values()) == 3


def test_recording_that_was_cut_short_counts_nothing_twice(
    captioning: CaptionPlatform, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The layer has the shard, and the job does not know yet: it is told again."""
    job = service.jobs.start("local", captioning.job())
    for unit in service.waiting()[:1]:
        service.context.shards.run(service.claimed(service.context.units, unit), ignore)

    def die(name: str) -> None:
        raise KeyboardInterrupt(name)

    with monkeypatch.context() as cut:
        cut.setattr("services.caption.jobs.job_steps.crashpoint", die)
        with pytest.raises(KeyboardInterrupt):
            service.jobs.steps.record(job.id)
    for _ in range(2):
        service.jobs.steps.record(job.id)
    layer = captioning.client.datasets.layer(job.layer)
    held = service.jobs.get("local", job.id)
    assert layer.recorded == 1
    assert (held.captioned, held.quarantined) == (layer.captioned, layer.quarantined)


def test_a_job_that_is_stuck_does_not_hold_the_others(
    captioning: CaptionPlatform, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose layer cannot be reached is tried again later."""
    stuck = service.jobs.start("local", captioning.job())
    other = service.jobs.start("local", captioning.job())
    plan = service.jobs.steps.plan

    def planned(job: str) -> bool:
        if job == stuck.id:
            raise RuntimeError("no answer")
        return plan(job)

    monkeypatch.setattr(service.jobs.steps, "plan", planned)
    for unit in service.waiting():
        claim = service.claimed(service.context.units, unit)
        service.context.units.fail(claim, "cut", final=True)
    service.jobs.steps.take_all()
    assert service.jobs.get("local", stuck.id).state == "running"
    assert service.jobs.get("local", other.id).state == "failed"


def test_a_cancelled_job_takes_its_shards_from_their_workers(
    captioning: CaptionPlatform, service: Service
) -> None:
    """A shard in the middle is not recorded, and the layer stays open."""
    job = service.jobs.start("local", captioning.job())
    claim = service.claimed(service.context.units, service.waiting()[0])
    assert service.jobs.cancel("local", job.id).state == "cancelled"
    service.context.shards.run(claim, ignore)
    service.jobs.steps.take_all()
    assert captioning.outputs(job.layer) == []
    assert service.waiting() == []
    assert captioning.client.datasets.layer(job.layer).state == "open"


def test_one_token_gives_one_job_however_many_ask_at_once(
    captioning: CaptionPlatform, service: Service
) -> None:
    """Also while the first is still looking up its shards."""
    jobs: list[str] = []
    together = threading.Barrier(4)

    def ask() -> None:
        together.wait(10)
        jobs.append(service.jobs.start("local", captioning.job(), "at-once").id)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(jobs) == 4
    assert len(set(jobs)) == 1
    assert len(service.waiting()) == 2


def test_another_team_cannot_see_or_stop_a_job(
    captioning: CaptionPlatform, service: Service
) -> None:
    """It is as if it were not there."""
    from services.chassis.web.errors import NotFound

    job = service.jobs.start("local", captioning.job())
    for look in (service.jobs.get, service.jobs.cancel):
        with pytest.raises(NotFound, match="no caption job"):
            look("blue", job.id)
    assert service.jobs.get("local", job.id).state == "running"


def test_a_job_whose_worker_is_gone_says_until_when_it_waits(
    service: Service, captioning: CaptionPlatform
) -> None:
    """Its lease is no longer renewed; one that has just been taken is worked on."""
    job = service.jobs.start("local", captioning.job())
    service.context.jobs.steps.take_all()
    units = service.context.units
    for unit in service.waiting():
        service.claimed(units, unit)
    assert service.jobs.get("local", job.id).progress.phase == "captioning"
    with units._database.transaction() as session:
        session.execute(update(WorkUnitRow).values(lease_until=WorkUnitRow.lease_until - 20))
    held = service.jobs.get("local", job.id)
    assert re.fullmatch(
        r"waiting until \d\d:\d\d:\d\d UTC: its worker no longer answers, and another takes over",
        held.progress.phase,
    )
    assert held.waiting_until is not None
