from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import services.training.jobs.dispatcher as dispatcher_module
from services.chassis.storage.database import Database
from services.chassis.web.errors import NotFound
from services.platform.embedded import EmbeddedPlatform
from services.specialist.specialists import Specialists
from services.specialist.tables import Base, SpecialistRow
from tests.support.embedded_platform import images, submitted
from tests.support.models import tiny_preset
from tests.support.paths import REPOSITORY
from tests.support.waiting import until
from vila2.client import ApiError, Client, Unreachable
from vila2.schemas.rest.problem import Problem
from vila2.schemas.rest.specialist import SpecialistIn
from vila2.schemas.rest.training import JobIn, SourceIn, StageIn, TrainIn


def refusal(status: int) -> ApiError:
    return ApiError(Problem(type="about:blank", title="no", status=status, detail="not now"))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SpecialistSetup]:
    folder = tmp_path_factory.mktemp("prepared")
    tiny_preset.model().save(folder / "model")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPOSITORY)
        patch.setitem(dispatcher_module._MODULES, "train", "tests.support.training.scripted_job")
        with EmbeddedPlatform(folder / "workspace", slots=1) as platform:
            registry = platform.apps["training"].state.context.registry
            parent = registry.add(
                team="local", base_name="general", folder=folder / "model", sha256="ab" * 32,
                parent="", job="job-0001", parameters=1, data=[],
            )  # fmt: skip
            submitted(platform.client, images(folder / "foxes", count=3), name="foxes")
            yield SpecialistSetup(platform.client, parent)


class SpecialistSetup:
    """A platform with three foxes and a general model; a finetuning there learns nothing."""

    def __init__(self, client: Client, parent: str) -> None:
        self.client, self.parent = client, parent

    def asked(self, **fields: Any) -> SpecialistIn:
        stage = StageIn(
            name="ocr", steps=1, batch_size=1, lr=0.001, trainable=["projector"],
            sources=[SourceIn(dataset="foxes", assembly={"policy": "original"})],
        )  # fmt: skip
        given = {
            "specialist": "ocr", "name": "round 1", "parent": self.parent,
            "stage": stage, "dataset": "foxes", "prompts": ["What is written here?"],
            "sampling": {"max_new_tokens": 4}, "gate": {"attempts": 1}, **fields,
        }  # fmt: skip
        return SpecialistIn.model_validate(given)


class Service:
    """A specialist service whose steps the test takes."""

    def __init__(self, prepared: SpecialistSetup, folder: Path) -> None:
        self.database = Database.sqlite(folder / "specialist.sqlite", Base.metadata)
        self.client = prepared.client
        self.specialists = Specialists(self.database, lambda _: prepared.client)

    def row(self, specialist: str) -> SpecialistRow:
        with self.database.transaction() as session:
            return session.get_one(SpecialistRow, specialist)

    def until(self, specialist: str, state: str) -> SpecialistRow:
        def reached() -> bool:
            self.specialists.tick()
            return self.row(specialist).state == state

        until(reached, seconds=60)
        return self.row(specialist)


@pytest.fixture
def service(prepared: SpecialistSetup, tmp_path: Path) -> Service:
    return Service(prepared, tmp_path)


@pytest.mark.slow
def test_a_specialist_is_finetuned_and_then_captions_by_its_task(prepared: SpecialistSetup) -> None:
    """Its model comes from its parent, and its layer is sealed and complete."""
    started = prepared.client.specialist.start(prepared.asked())
    until(
        lambda: prepared.client.specialist.get(started.id).state not in ("training", "captioning")
    )
    done = prepared.client.specialist.get(started.id)
    assert (done.state, done.error) == ("done", "")
    assert prepared.client.training.model(done.model).parent == prepared.parent
    layer = prepared.client.datasets.layer(done.layer)
    assert (layer.state, layer.captioner) == ("sealed", done.model)
    assert layer.captioned + sum(layer.quarantined.values()) == 3


def test_one_token_gives_one_specialist(service: Service, prepared: SpecialistSetup) -> None:
    """And one for each team."""
    first = service.specialists.start("local", prepared.asked(), "once")
    assert service.specialists.start("local", prepared.asked(), "once") == first
    assert service.specialists.start("blue", prepared.asked(), "once").id != first.id


def test_a_restarted_service_goes_on_and_repeats_nothing(
    service: Service, prepared: SpecialistSetup, tmp_path: Path
) -> None:
    """Each step is requested by a key, so a service that died half-way finds what it began."""
    started = service.specialists.start("local", prepared.asked(), "restart")
    service.specialists.tick()
    job = service.row(started.id).job
    service.database.close()
    later = Service(prepared, tmp_path)
    done = later.until(started.id, "done")
    assert done.job == job
    assert prepared.client.training.model(done.model).job == job


def test_a_training_that_cannot_be_done_fails_the_specialist_with_its_words(
    service: Service, prepared: SpecialistSetup
) -> None:
    """There is nothing to caption with."""
    started = service.specialists.start("local", prepared.asked(parent="nobody"), "orphan")
    failed = service.until(started.id, "failed")
    assert "training failed" in failed.error
    assert "nobody" in failed.error
    assert not failed.layer_job


def test_a_dataset_that_is_not_there_fails_the_specialist_by_its_name(
    service: Service, prepared: SpecialistSetup
) -> None:
    """As soon as it is to be captioned."""
    started = service.specialists.start("local", prepared.asked(dataset="owls"), "owls")
    assert "owls" in service.until(started.id, "failed").error


@pytest.mark.parametrize("error", [refusal(503), Unreachable("no answer")])
def test_another_service_that_is_away_holds_a_specialist_up_and_does_not_fail_it(
    service: Service, prepared: SpecialistSetup, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    started = service.specialists.start("local", prepared.asked(), f"away-{type(error).__name__}")

    def away(_: JobIn) -> None:
        raise error

    with monkeypatch.context() as cut:
        cut.setattr(prepared.client.training, "submit", away)
        service.specialists.tick()
    held = service.row(started.id)
    assert held.state == "training"
    assert not held.job
    service.specialists.tick()
    assert service.row(started.id).job


def test_cancelling_stops_the_training_and_nothing_follows(
    service: Service, prepared: SpecialistSetup
) -> None:
    """The job is stopped, no layer is begun."""
    started = service.specialists.start("local", prepared.asked(), "cancelled")
    service.specialists.tick()
    assert service.specialists.cancel("local", started.id).state == "cancelled"
    service.specialists.tick()
    row = service.row(started.id)
    assert (row.state, row.layer_job) == ("cancelled", "")
    assert prepared.client.training.job(row.job).state in ("cancelled", "succeeded")


def test_a_job_that_was_just_submitted_is_stopped_when_the_specialist_was_cancelled_meanwhile(
    service: Service, prepared: SpecialistSetup
) -> None:
    """Cancelling could not know of it."""
    held = prepared.client.training.submit(_blocker())
    until(lambda: prepared.client.training.job(held.id).state == "running")
    started = service.specialists.start("local", prepared.asked(), "race")
    stale = service.row(started.id)
    service.specialists.cancel("local", started.id)
    service.specialists._step(stale)
    newest = next(prepared.client.training.jobs())
    assert (newest.name, newest.state) == (stale.body["name"], "cancelled")
    prepared.client.training.cancel(held.id)


def test_another_team_cannot_see_or_stop_a_specialist(
    service: Service, prepared: SpecialistSetup
) -> None:
    """It is as if it were not there."""
    started = service.specialists.start("local", prepared.asked(), "mine")
    for look in (service.specialists.get, service.specialists.cancel):
        with pytest.raises(NotFound, match="no specialist"):
            look("blue", started.id)


def _blocker() -> JobIn:
    """A job that fills the only slot."""
    return JobIn(name="b", train=TrainIn(init="new", preset="sleep"))
