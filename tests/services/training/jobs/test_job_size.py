"""How much of the machines one job may ask for."""

from __future__ import annotations

import pytest

from services.chassis.web.errors import Invalid
from services.training.queue.size import check_size
from services.training.settings import TrainingSettings
from tests.support.training.training_service import Service
from vila2.schemas.rest.training import EvaluateIn, JobIn, TrainIn


def training(**fields: int) -> JobIn:
    return JobIn(name="x", train=TrainIn(init="new", preset="tiny", **fields))


def evaluation(threads: int) -> JobIn:
    return JobIn(name="x", evaluate=EvaluateIn(model="m", benchmarks=["b"], threads=threads))


@pytest.mark.parametrize(
    "body",
    [training(), training(processes=4), training(threads=4), training(processes=2, threads=2),
     training(loaders=16), evaluation(4)],
)  # fmt: skip
def test_a_job_within_the_bound_is_accepted(body: JobIn) -> None:
    check_size(body, 4)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (training(processes=100_000), "train.processes"),
        (training(threads=1024), "train.threads"),
        (training(processes=3, threads=2), "train.threads"),
        (training(loaders=17), "train.loaders"),
        (evaluation(5), "evaluate.threads"),
    ],
)
def test_a_job_over_the_bound_names_the_field_and_the_setting(body: JobIn, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        check_size(body, 4)
    assert refused.value.field == field
    assert "VILA2_TRAINING_MAX_CPUS" in refused.value.fix


def test_the_service_starts_nothing_that_is_too_large(service: Service) -> None:
    """It is refused when it is sent, so nothing waits for ever."""
    with pytest.raises(Invalid, match="100,000 processes"):
        service.submit("tiny", processes=100_000)
    assert service.jobs.find("local") == []


def test_on_this_machine_the_bound_is_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster's nodes are not known here, so there it is a number."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(6)))
    assert TrainingSettings().max_cpus == 6
    assert TrainingSettings(training_backend="slurm").max_cpus == 4096
    assert TrainingSettings(training_max_cpus=3).max_cpus == 3
