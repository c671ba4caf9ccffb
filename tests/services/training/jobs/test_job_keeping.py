"""Looking for jobs, following their logs, trying again, and jobs with seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from services.chassis.web.errors import Conflict, Invalid
from services.chassis.web.paging import Key, Page
from services.platform.embedded import EmbeddedPlatform
from services.training.queue.gauges import measure
from services.training.queue.seeds import together
from tests.support.training.training_service import Service
from vila2.client import ApiError
from vila2.schemas.rest.training import EvaluateIn, JobIn, TrainIn


def test_pages_hold_every_job_once_the_newest_first(service: Service) -> None:
    jobs = [service.submit("succeed", token=str(n)) for n in range(5)]
    seen: list[str] = []
    ends: list[Key] = []
    for pages in range(1, 4):
        page = Page(2, ends[-1] if ends else None, ends.append)
        seen += [job.id for job in service.jobs.find("local", page)]
        assert len(ends) == min(pages, 2)
    assert seen == jobs[::-1]


def test_jobs_are_found_by_state_run_and_kind(service: Service) -> None:
    first = service.submit("succeed", token="1", run="a")
    second = service.submit("fail", token="2", run="b")
    service.until(first, "succeeded")
    service.until(second, "failed")
    found = [
        [job.id for job in service.jobs.find("local", **given)]
        for given in ({"run": "a"}, {"state": "failed"}, {"kind": "evaluate"}, {"kind": "train"})
    ]
    assert found == [[first], [second], [], [second, first]]


def test_a_cursor_that_was_made_up_is_refused(service: Service) -> None:
    with pytest.raises(Invalid, match="this cursor does not belong to this list"):
        service.jobs.find("local", Page(2, ("x",), lambda _: None))


def log(service: Service, text: bytes, *, ended: bool = False) -> str:
    job = service.submit("succeed")
    service.jobs.folder(job).mkdir(parents=True)
    (service.jobs.folder(job) / "log.txt").write_bytes(text)
    if ended:
        service.jobs.cancel("local", job)
    return job


def test_a_log_is_followed_by_its_offsets_without_cutting_a_character(service: Service) -> None:
    """Whatever the size of the parts."""
    text = "loss 1 – größer ✓ 🦊" * 5
    row = service.jobs.row("local", log(service, text.encode(), ended=True))
    for limit in (4, 5, 7, 1000):
        parts, offset = [], 0
        while not parts or parts[-1].next < parts[-1].size:
            parts.append(service.jobs.files.log(row, offset=offset, limit=limit))
            offset = parts[-1].next
        assert "".join(part.text for part in parts) == text
        assert parts[-1].ended


def test_half_a_character_at_the_end_of_a_log_waits_for_its_rest(service: Service) -> None:
    row = service.jobs.row("local", log(service, "größer"[:3].encode()[:-1]))
    part = service.jobs.files.log(row, offset=0)
    assert (part.text, part.next, part.ended) == ("gr", 2, False)


def test_without_an_offset_a_log_begins_near_its_end(service: Service) -> None:
    row = service.jobs.row("local", log(service, b"x" * 100 + b"end"))
    part = service.jobs.files.log(row, limit=10)
    assert (part.text, part.offset) == ("x" * 7 + "end", 93)


def test_metrics_leave_out_what_a_kill_cut_short(service: Service) -> None:
    job = service.submit("succeed")
    folder = service.jobs.folder(job)
    folder.mkdir(parents=True)
    line = json.dumps({"stage": "sft", "step": 10, "loss": 2.0})
    (folder / "metrics.jsonl").write_text(f'{line}\n{line}\n{{"stage": "sf')
    assert service.jobs.files.metrics(service.jobs.row("local", job)) == [json.loads(line)]


def test_a_failed_job_is_tried_again_with_all_its_attempts(service: Service) -> None:
    """It goes on in its folder, from the checkpoint that lies there."""
    job = service.submit("fail")
    service.until(job, "failed")
    again = service.jobs.retry("local", job)
    assert (again.state, again.attempt, again.error) == ("queued", 0, "")
    assert service.until(job, "failed").attempt == 1
    assert len(service.starts(job)) == 2
    (told,) = service.context.accounts.usage("local", "team")
    assert told.attempts == 2


def test_only_what_failed_or_was_cancelled_is_tried_again(service: Service) -> None:
    job = service.submit("succeed")
    with pytest.raises(Conflict, match="is queued"):
        service.jobs.retry("local", job)
    service.until(job, "succeeded")
    with pytest.raises(Conflict, match="is succeeded"):
        service.jobs.retry("local", job)


def seeds(service: Service, *given: int, preset: str = "succeed") -> str:
    train = TrainIn(init="new", preset=preset)
    body = JobIn(name="replicas", train=train, seeds=list(given))
    return service.jobs.submit("local", body, "s").id


def test_a_job_with_seeds_trains_once_with_each(service: Service) -> None:
    """Its state is theirs together, and each has its own seed and model."""
    job = seeds(service, 3, 4)
    assert seeds(service, 3, 4) == job
    done = service.until(job, "succeeded")
    assert [(held.seed, held.state) for held in done.seeds] == [(3, "succeeded"), (4, "succeeded")]
    assert len({held.model for held in done.seeds}) == 2
    specs = [service.jobs.folder(held.job) / "spec.json" for held in done.seeds]
    assert [json.loads(Path(spec).read_text())["seed"] for spec in specs] == [3, 4]
    assert [j.id for j in service.jobs.find("local")] == [job]
    children = service.jobs.find("local", parent=job)
    assert {child.id for child in children} == {held.job for held in done.seeds}


def test_cancelling_a_job_with_seeds_ends_all_of_them(service: Service) -> None:
    job = seeds(service, 1, 2, preset="sleep")
    service.tick()
    service.jobs.cancel("local", job)
    service.tick()
    assert {held.state for held in service.job(job).seeds} == {"cancelled"}
    assert service.jobs.unwanted() == []


def test_retrying_a_job_with_seeds_retries_those_that_failed(service: Service) -> None:
    job = seeds(service, 1, 2, preset="fail")
    failed = service.until(job, "failed")
    assert "replicas-s1: stage align" in failed.error
    service.jobs.retry("local", failed.seeds[0].job)
    one = service.job(job)
    assert (one.state, [held.state for held in one.seeds]) == ("queued", ["queued", "failed"])
    again = service.jobs.retry("local", job)
    assert [held.state for held in again.seeds] == ["queued"] * 2


@pytest.mark.parametrize(
    ("states", "whole"),
    [
        (("queued", "queued"), "queued"),
        (("succeeded", "queued"), "running"),
        (("failed", "running"), "running"),
        (("succeeded", "succeeded"), "succeeded"),
        (("succeeded", "failed"), "failed"),
        (("cancelled", "stopped"), "cancelled"),
    ],
)
def test_the_state_of_the_whole(states: tuple, whole: str) -> None:
    assert together(states) == whole


def test_seeds_that_make_no_sense_are_refused(service: Service) -> None:
    with pytest.raises(Invalid, match="twice"):
        seeds(service, 1, 1)
    evaluate = EvaluateIn(model="m", benchmarks=["b"])
    with pytest.raises(Invalid, match="no seed"):
        service.jobs.submit("local", JobIn(name="e", evaluate=evaluate, seeds=[1]))


@pytest.mark.parametrize("preset", ["/etc/secret.yaml", "../mine.yaml", "mine.yaml", ""])
def test_a_job_names_its_preset_and_no_file(service: Service, preset: str) -> None:
    """Whoever may submit a job must not choose what the platform reads from its disk."""
    train = TrainIn(init="new", preset=preset)
    with pytest.raises(Invalid, match="no preset's name"):
        service.jobs.submit("local", JobIn(name="x", train=train))


def test_a_job_that_begins_from_a_model_names_one(service: Service) -> None:
    with pytest.raises(Invalid, match="begins from a model"):
        service.jobs.submit("local", JobIn(name="x", train=TrainIn(init="base")))


def test_the_queue_is_measured(service: Service) -> None:
    """Jobs by state, hours by team, and how long jobs waited."""
    job = service.submit("succeed")
    measure(service.context._database, service.context.accounts, service.context.jobs.files)
    value = REGISTRY.get_sample_value
    assert value("vila2_jobs_active", {"kind": "train", "state": "queued"}) == 1
    before = value("vila2_job_queue_seconds_count", {"kind": "train"}) or 0
    service.until(job, "succeeded")
    measure(service.context._database, service.context.accounts, service.context.jobs.files)
    assert value("vila2_jobs_active", {"kind": "train", "state": "queued"}) == 0
    assert value("vila2_job_queue_seconds_count", {"kind": "train"}) == before + 1
    assert (value("vila2_job_hours", {"team": "local", "unit": "process"}) or 0) > 0


def test_what_a_running_job_says_of_itself_is_measured_while_it_runs(service: Service) -> None:
    """Its progress always; loss and pace once it is at a stage."""
    job = service.submit("sleep")
    service.until(job, "running")
    told = {"phase": "sft", "fraction": 0.25, "eta_seconds": None, "loss": 2.5, "mfu": 0.4}
    (service.jobs.folder(job) / "progress.json").write_text(json.dumps(told))
    look = (service.context._database, service.context.accounts, service.context.jobs.files)
    measure(*look)
    labels = {"job_id": job, "run": "", "name": "sleep", "stage": "sft"}
    value = REGISTRY.get_sample_value
    assert value("vila2_job_progress_ratio", labels) == 0.25
    assert value("vila2_job_loss", labels) == 2.5
    assert value("vila2_job_mfu_ratio", labels) == 0.4
    assert value("vila2_job_eta_seconds", labels) is None
    service.jobs.cancel("local", job)
    service.until(job, "cancelled")
    measure(*look)
    assert value("vila2_job_progress_ratio", labels) is None


@pytest.mark.usefixtures("made_jobs")
def test_a_log_is_followed_to_its_end_over_http(platform: EmbeddedPlatform) -> None:
    training = platform.client.training
    train = TrainIn(init="new", preset="succeed")
    job = training.submit(JobIn(name="a", train=train)).id
    assert "job begins" in "".join(training.follow_log(job, poll_seconds=0.05))
    assert [file.name for file in training.artifacts(job)] == ["result.json", "spec.json"]
    with pytest.raises(ApiError, match="no artifact"):
        training.artifact(job, "log.txt")
