"""The training service in one folder, with jobs that do what their preset's name says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from services.chassis.storage.database import Database
from services.chassis.storage.objects_directory import DirectoryObjects
from services.chassis.storage.sources import Sources
from services.training.backends.local import LocalBackend
from services.training.context import TrainingContext
from services.training.tables import Base
from tests.support.training.scripted_job import started
from tests.support.waiting import until
from vila2.client import Client
from vila2.schemas.rest.training import Job, JobIn, TrainIn

SCRIPTED_JOB = "tests.support.training.scripted_job"


def nobody(_: str) -> Client:
    """These jobs read no data, so nobody has to answer."""
    return Client.connect("http://127.0.0.1:9", key="none")


class Service:
    """The training service of one folder; the test ticks its dispatcher."""

    def __init__(self, folder: Path, *, slots: int = 1, lease_seconds: float = 0.2) -> None:
        self.folder = folder
        self.objects = DirectoryObjects(folder / "objects")
        self.context = TrainingContext(
            database=Database.sqlite(folder / "training.sqlite", Base.metadata),
            objects=self.objects,
            backend=LocalBackend(),
            platform=nobody,
            sources=Sources({}, cache=folder / "sources"),
            root=folder / "training",
            slots=slots,
            interrupt_on_stop=True,
            lease_seconds=lease_seconds,
        )
        self.jobs, self.tick = self.context.jobs, self.context.dispatcher.tick

    def submit(
        self,
        preset: str,
        *,
        token: str | None = None,
        team: str = "local",
        processes: int = 1,
        **fields: Any,
    ) -> str:
        body = JobIn(
            name=preset,
            train=TrainIn(init="new", preset=preset, processes=processes),
            **fields,
        )
        return self.jobs.submit(team, body, token).id

    def job(self, job: str, *, team: str = "local") -> Job:
        return self.jobs.get(team, job)

    def handle(self, job: str) -> str:
        (handle,) = (row.handle for row in self.jobs.rows("running") if row.id == job)
        return handle

    def until(self, job: str, state: str) -> Job:
        def reached() -> bool:
            self.tick()
            return self.job(job).state == state

        until(reached)
        return self.job(job)

    def starts(self, job: str) -> list[int]:
        return started(self.jobs.folder(job))

    def begun(self, job: str, *, times: int = 1) -> None:
        def begun() -> bool:
            self.tick()
            return len(self.starts(job)) == times

        until(begun)
