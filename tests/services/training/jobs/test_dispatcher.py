from __future__ import annotations

import os
import signal

import pytest
from google.protobuf import json_format

import services.training.jobs.dispatcher as dispatcher_module
from services.chassis.web.errors import Invalid, NotFound
from tests.support.training.training_service import Service
from vila2.schemas.rest.training import EvaluateIn, JobIn, TrainIn
from vila2.wire.manifests_pb2 import ModelManifest


def test_a_job_that_succeeds_leaves_its_model_in_the_registry(service: Service) -> None:
    """Under a name of its own, with its files and where it comes from."""
    done = service.until(service.submit("succeed"), "succeeded")
    assert done.result == {"sha256": "cd" * 32, "parameters": 7, "loss": 0.5}
    model = service.context.registry.get("local", done.model)
    assert (model.job, model.parameters, model.parent) == (done.id, 7, "succeed")
    assert service.objects.get(f"{model.object_prefix}/weights") == b"w"
    row = service.jobs.row("local", done.id)
    assert [file.name for file in service.jobs.files.artifacts(row)] == ["result.json", "spec.json"]
    assert "job begins" in service.jobs.files.log(row).text


def test_the_manifest_of_a_model_is_the_proto_message(service: Service) -> None:
    """It can be read without the database."""
    done = service.until(service.submit("succeed"), "succeeded")
    text = service.objects.get(f"models/{done.model}.manifest.json").decode()
    manifest = json_format.Parse(text, ModelManifest())
    assert (manifest.model, manifest.sha256, manifest.job_id) == (done.model, "cd" * 32, done.id)


@pytest.mark.parametrize(("preset", "words"), [
    ("fail", "stage align: the loss is not a number"), ("crash", "no space left for the cache"),
    ("no_result", "the job left no result"),
])  # fmt: skip
def test_a_job_that_fails_tells_why_and_is_not_started_again(
    service: Service, preset: str, words: str
) -> None:
    """In its own words where it left any, else by the end of its log."""
    failed = service.until(service.submit(preset), "failed")
    assert words in failed.error
    service.tick()
    assert len(service.starts(failed.id)) == 1


def test_a_job_that_was_killed_is_started_again(service: Service) -> None:
    """It goes on from its checkpoint, and its attempts are counted."""
    job = service.submit("sleep_once")
    service.begun(job)
    os.killpg(int(service.handle(job).partition(":")[0]), signal.SIGKILL)
    done = service.until(job, "succeeded")
    assert (done.attempt, len(service.starts(job))) == (2, 2)


def test_a_job_that_is_killed_every_time_fails_in_the_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that it does not fit on would kill it for ever."""
    monkeypatch.setattr(dispatcher_module, "MAX_ATTEMPTS", 2)
    job = service.submit("sleep")
    for times in (1, 2):
        service.begun(job, times=times)
        os.killpg(int(service.handle(job).partition(":")[0]), signal.SIGKILL)
    failed = service.until(job, "failed")
    assert "ended without a word" in failed.error


def test_a_new_dispatcher_adopts_the_jobs_of_the_old_one(service: Service) -> None:
    """It finds them by process id and start time, and starts none a second time."""
    job = service.submit("sleep")
    service.begun(job)
    later = Service(service.folder)
    later.tick()
    assert (later.job(job).state, later.handle(job)) == ("running", service.handle(job))
    assert len(service.starts(job)) == 1


def test_a_dispatcher_that_died_after_starting_a_job_does_not_start_it_twice(
    service: Service,
) -> None:
    """The process was there before its row said so."""
    job = service.submit("sleep")
    service.begun(job)
    assert service.jobs.change(job, expect="running", state="queued", handle="", attempt=0)
    later = Service(service.folder)
    later.tick()
    assert later.job(job).state == "running"
    assert len(service.starts(job)) == 1


def test_no_more_jobs_run_than_there_are_slots(service: Service) -> None:
    """The rest waits, and says so."""
    wide = Service(service.folder, slots=2)
    jobs = [wide.submit("sleep", token=str(n)) for n in range(3)]
    for _ in range(3):
        wide.tick()
    assert [wide.job(job).state for job in jobs] == ["running", "running", "queued"]
    assert wide.job(jobs[2]).progress.phase == "waiting for a free slot"
    wide.jobs.cancel("local", jobs[0])
    wide.tick()
    assert wide.job(jobs[2]).state == "running"


def test_the_highest_priority_runs_first_and_equals_in_their_order(service: Service) -> None:
    """Whenever they were submitted."""
    given = {"a": 0, "b": 5, "c": 5, "d": 9}
    jobs = {name: service.submit("succeed", token=name, priority=given[name]) for name in given}
    order: list[str] = []
    while len(order) < len(given):
        service.tick()
        order += [
            name for name in given
            if name not in order and service.job(jobs[name]).state in ("running", "succeeded")
        ]  # fmt: skip
    assert order == ["d", "b", "c", "a"]


def test_one_token_gives_one_job_in_whatever_state(service: Service) -> None:
    """Asking again neither repeats what is done nor revives what failed."""
    job = service.submit("fail", token="t")
    assert service.submit("fail", token="t") == job
    service.until(job, "failed")
    assert service.submit("fail", token="t") == job
    assert service.submit("fail", token="u") != job


def test_the_same_token_of_another_team_is_another_job(service: Service) -> None:
    """And neither sees the other's."""
    job = service.submit("succeed", token="t")
    body = JobIn(name="x", train=TrainIn(init="new", preset="succeed"))
    assert service.jobs.submit("blue", body, "t").id != job
    for look in (service.jobs.get, service.jobs.cancel, service.jobs.retry, service.jobs.row):
        with pytest.raises(NotFound, match="no job"):
            look("blue", job)


def test_cancelling_ends_the_job_with_its_processes(service: Service) -> None:
    """And what waits is never started."""
    running, waiting = (service.submit("sleep", token=t) for t in ("a", "b"))
    service.begun(running)
    pid = int(service.handle(running).partition(":")[0])
    for job in (running, waiting):
        assert service.jobs.cancel("local", job).state == "cancelled"
    service.tick()
    with pytest.raises(ProcessLookupError):
        os.killpg(pid, 0)
    service.tick()
    assert [service.job(job).state for job in (running, waiting)] == ["cancelled"] * 2
    assert service.starts(waiting) == []


def test_an_orderly_stop_queues_what_runs_without_counting_an_attempt(service: Service) -> None:
    """The next start of the workspace goes on with it."""
    job = service.submit("sleep_once")
    service.begun(job)
    service.context.dispatcher.interrupt()
    stopped = service.job(job)
    assert (stopped.state, stopped.attempt) == ("queued", 0)
    assert service.until(job, "succeeded").attempt == 1


def test_a_job_that_cannot_be_written_as_a_spec_fails_at_once(service: Service) -> None:
    """With the field; nothing is started."""
    evaluate = EvaluateIn(model="nobody", benchmarks=["dev"])
    job = service.jobs.submit("local", JobIn(name="e", evaluate=evaluate))
    failed = service.until(job.id, "failed")
    assert "nobody" in failed.error
    assert service.starts(job.id) == []


@pytest.mark.parametrize("both", [True, False])
def test_a_job_is_either_a_training_or_an_evaluation(service: Service, both: bool) -> None:
    """Not both and not neither."""
    train = TrainIn(init="new", preset="x") if both else None
    evaluate = EvaluateIn(model="m", benchmarks=["b"]) if both else None
    with pytest.raises(Invalid, match="either train or evaluate"):
        service.jobs.submit("local", JobIn(name="x", train=train, evaluate=evaluate))


@pytest.mark.parametrize("name", ["../spec.json", "/etc/passwd", "log.txt", "model/weights"])
def test_only_known_artifacts_are_handed_out(service: Service, name: str) -> None:
    """A name is not a path."""
    done = service.until(service.submit("succeed"), "succeeded")
    with pytest.raises(NotFound, match="no artifact"):
        service.jobs.files.artifact(service.jobs.row("local", done.id), name)
