"""The training dispatcher's long-lived objects."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from services.chassis.database import Database
from services.chassis.loop import Loop
from services.chassis.objects import ObjectStore
from services.training.backend import Backend
from services.training.dispatcher import Dispatcher
from services.training.jobs import Jobs
from services.training.registry import Registry
from services.training.specs import SpecBuilder
from vila2.client import Client


class TrainingContext:
    """Built once per process; `start` begins dispatching.

    `interrupt_on_stop` makes an orderly stop take the jobs along, as on a laptop; without it they
    run on and are adopted by the next dispatcher.
    """

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectStore,
        backend: Backend,
        platform: Callable[[str], Client],
        root: Path,
        slots: int,
        interrupt_on_stop: bool,
    ) -> None:
        self._database = database
        self._interrupt = interrupt_on_stop
        self.jobs = Jobs(database, root=root / "jobs")
        self.registry = Registry(database, objects)
        self.dispatcher = Dispatcher(
            self.jobs,
            self.registry,
            SpecBuilder(objects, cache=root / "cache"),
            backend,
            platform,
            slots=slots,
        )
        self.loop = Loop("dispatcher", self.dispatcher.tick, seconds=0.5)

    def start(self) -> None:
        """Take up dispatching, also of jobs that run since before."""
        self.loop.start()

    def stop(self) -> None:
        """Stop dispatching and close the database."""
        self.loop.stop()
        if self._interrupt:
            self.dispatcher.interrupt()
        self._database.close()
