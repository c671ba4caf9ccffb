"""The training dispatcher's long-lived objects."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.sources import Sources
from services.chassis.telemetry.health_gauges import Watch
from services.chassis.telemetry.metrics import JOB_SLOTS, JOBS
from services.chassis.work.loop import Loop
from services.training.backends.backend import Backend
from services.training.jobs.dispatcher import Dispatcher
from services.training.jobs.jobs import Jobs
from services.training.jobs.specs import SpecBuilder
from services.training.queue.attempts import Accounts
from services.training.queue.claims import Claims
from services.training.queue.gauges import measure
from services.training.queue.teams import Quotas
from services.training.registry.added_models import AddedModels
from services.training.registry.import_steps import ImportSteps
from services.training.registry.imports import Imports
from services.training.registry.model_imports import ModelImports
from services.training.registry.registry import Registry
from vila2.client import Client


class TrainingContext:
    """Built once per process; `start` begins dispatching.

    With `interrupt_on_stop`, an orderly stop also interrupts the jobs, as on a laptop; without it
    they continue and the next dispatcher adopts them. `accelerator` is the device that a process of
    the backend uses by default, `max_cpus` how many CPUs a job may ask for. A dispatcher that dies
    while starting a job delays it by at most `lease_seconds`.
    """

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectStore,
        backend: Backend,
        platform: Callable[[str], Client],
        sources: Sources,
        root: Path,
        slots: int,
        interrupt_on_stop: bool,
        accelerator: str = "cpu",
        max_cpus: int = 4096,
        lease_seconds: float = 30.0,
    ) -> None:
        self._database = database
        self._interrupt = interrupt_on_stop
        self.platform = platform
        self._backend = backend
        self.jobs = Jobs(database, root=root / "jobs", accelerator=accelerator, max_cpus=max_cpus)
        self.claims = Claims(database, slots=slots, lease_seconds=lease_seconds)
        self.quotas, self.accounts = Quotas(database), Accounts(database)
        self.registry = Registry(database, objects)
        self.imports = Imports(database, objects)
        self.added = AddedModels(database, objects)
        self.model_imports = ModelImports(database, objects, sources)
        self.spool = root / "spool"
        self.spool.mkdir(parents=True, exist_ok=True)
        steps = ImportSteps(
            database,
            objects,
            sources,
            self.model_imports,
            self.added,
            platform,
            scratch=root / "imports",
        )
        self.importer = Loop("model-imports", steps.advance_all, seconds=2.0)
        self.dispatcher = Dispatcher(
            self.jobs,
            self.claims,
            self.registry,
            SpecBuilder(objects, cache=root / "cache"),
            backend,
            platform,
        )
        self.loop = Loop("dispatcher", self.dispatcher.tick, seconds=0.5)
        self._loops = [
            self.loop,
            self.importer,
            Loop("cards", self.registry.write_cards, seconds=5.0),
        ]
        JOB_SLOTS.set(slots)
        for kind, state in product(("train", "evaluate"), ("succeeded", "failed", "stopped")):
            JOBS.labels(kind, state)  # starts at 0, so that the first failure is an increase
        self.watch = Watch("training", self._measure, objects=objects)

    def start(self) -> None:
        """Start dispatching, and adopt jobs that are already running."""
        for loop in self._loops:
            loop.start()
        self.watch.start()

    def _measure(self) -> None:
        measure(self._database, self.accounts, self.jobs.files)

    def check(self) -> None:
        """Raise the database's error if requests that change something would fail."""
        self._database.check()

    def stop(self) -> None:
        """Stop dispatching and close the database."""
        self.watch.stop()
        for loop in self._loops:
            loop.stop()
        if self._interrupt:
            self.dispatcher.interrupt()
        self._backend.close()
        self._database.close()
