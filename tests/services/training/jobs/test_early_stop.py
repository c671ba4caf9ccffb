"""When a training is not worth its remaining steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from services.chassis.web.errors import Invalid
from services.platform.embedded import EmbeddedPlatform
from services.training.queue.early_stop import judge
from tests.support.embedded_platform import images, submitted
from tests.support.training.training_service import Service
from tests.support.waiting import until
from vila2.schemas.rest.training import EarlyStopIn, Job, JobIn, SourceIn, StageIn, TrainIn

PATIENT = EarlyStopIn(stage="sft", patience_steps=30, minimum_improvement=0.1)
HOPELESS = EarlyStopIn(stage="sft", max_loss=2.0, at_step=20)


def history(*losses: float, stage: str = "sft") -> list[dict[str, object]]:
    return [{"stage": stage, "step": 10 * n, "loss": x} for n, x in enumerate(losses, start=1)]


def test_a_loss_that_falls_goes_on() -> None:
    assert judge(PATIENT, history(5, 4, 3, 2, 1)) is None


def test_a_loss_that_does_not_improve_ends_the_stage() -> None:
    stop = judge(PATIENT, history(5, 3.0, 2.95, 3.1, 2.99))
    assert stop is not None
    assert stop.what == "stage"
    assert stop.reason.endswith("30 steps: 3 at step 20, 2.99 at step 50")


def test_small_improvements_count_once_they_add_up() -> None:
    """Each is held against the best so far, not against the one before."""
    assert judge(PATIENT, history(3.0, 2.95, 2.9, 2.85, 2.8)) is None


def test_patience_is_counted_in_steps() -> None:
    assert judge(PATIENT, history(3, 3, 3)) is None
    assert judge(PATIENT, history(3, 3, 3, 3)) is not None


@pytest.mark.parametrize("loss", [float("nan"), None, "x"])
def test_what_is_not_a_number_is_passed_over(loss: object) -> None:
    lines = [*history(3, 2, 1), {"stage": "sft", "step": 40, "loss": loss}]
    assert judge(PATIENT, lines) is None


def test_other_stages_do_not_count() -> None:
    assert judge(PATIENT, history(3, 3, 3, 3, 3, stage="align")) is None


def test_a_loss_that_is_too_high_at_its_step_stops_the_job() -> None:
    assert judge(HOPELESS, history(9)) is None
    stop = judge(HOPELESS, history(9, 2.5))
    assert stop is not None
    assert (stop.what, "2.5 at step 20" in stop.reason) == ("job", True)
    assert judge(HOPELESS, history(9, 1.5, 7.0)) is None  # it was low enough when it mattered


@pytest.mark.parametrize("fields", [{}, {"max_loss": 1.0}, {"at_step": 3, "patience_steps": 3}])
def test_a_rule_that_never_holds_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        EarlyStopIn(stage="sft", **fields)


def test_a_rule_for_a_stage_that_is_not_trained_is_refused(service: Service) -> None:
    train = TrainIn(init="new", preset="flat", early_stop=PATIENT)
    with pytest.raises(Invalid, match="'sft', which is not trained"):
        service.jobs.submit("local", JobIn(name="x", train=train))


def trained(platform: EmbeddedPlatform, folder: Path, rule: EarlyStopIn) -> Job:
    """A job that learns nothing, with this rule, once it has ended."""
    training = platform.client.training
    submitted(platform.client, images(folder / "p"), name="foxes")
    stage = StageIn(
        name="sft", steps=99, batch_size=1, lr=1.0, trainable=["projector"],
        sources=[SourceIn(dataset="foxes", assembly={"policy": "original"})],
    )  # fmt: skip
    train = TrainIn(init="new", preset="flat", stages=[stage], early_stop=rule)
    job = training.submit(JobIn(name="flat", train=train)).id
    until(lambda: training.job(job).state not in ("queued", "starting", "running"))
    return training.job(job)


@pytest.mark.usefixtures("made_jobs")
def test_a_stage_that_is_ended_early_leaves_a_model(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """The trainer reads the request from its folder; the result says which stage was cut."""
    job = trained(platform, tmp_path, PATIENT)
    assert (job.state, bool(job.model)) == ("succeeded", True)
    assert "not improved" in job.result["stages"]["sft"]["stopped_early"]
    asked = json.loads(platform.client.training.artifact(job.id, "stop_stage.json"))
    assert asked["stage"] == "sft"


@pytest.mark.usefixtures("made_jobs")
def test_a_hopeless_job_is_stopped_without_a_model(
    platform: EmbeddedPlatform, tmp_path: Path
) -> None:
    """Its reason is told, its processes end, and it is not started again."""
    job = trained(platform, tmp_path, EarlyStopIn(stage="sft", max_loss=1.0, at_step=20))
    assert (job.state, job.model, job.attempt) == ("stopped", "", 1)
    assert "loss is 2 at step 20, above the 1" in job.error
    until(lambda: platform.client.training.log_part(job.id).ended)
