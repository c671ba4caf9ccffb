"""The embedded platform: the same five services, wired together in one process.

What differs from a cluster is only what is passed in here: SQLite files, a directory, an
in-process queue, calls over ASGI, the embedded engine, and torchrun children.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import TextIO

import httpx2
from fastapi import FastAPI
from pydantic import ValidationError
from sqlalchemy.orm import DeclarativeBase

import services.caption.app as caption_app
import services.controller.app as controller_app
import services.datasets.app as datasets_app
import services.specialist.app as specialist_app
import services.training.app as training_app
from services.caption.context import CaptionContext
from services.caption.migrations import MIGRATIONS as CAPTION
from services.caption.settings import CaptionSettings
from services.caption.tables import Base as CaptionBase
from services.caption.triton.repository import PREFIX
from services.chassis.asgi import AppThread, InProcessTransport
from services.chassis.auth import ACT_AS, ALL_SCOPES, KeyRing, write_private
from services.chassis.database import Database
from services.chassis.logging import configure_logging
from services.chassis.migrations import DatabaseNewer, DatabaseUnknown, Migrations
from services.chassis.queue_inprocess import InProcessQueue
from services.chassis.settings import StorageSettings
from services.chassis.sources import sources_of
from services.controller.context import ControllerContext
from services.controller.migrations import MIGRATIONS as CONTROLLER
from services.controller.relay import RedisSink
from services.controller.tables import Base as ControllerBase
from services.datasets.context import DatasetsContext
from services.datasets.migrations import MIGRATIONS as DATASETS
from services.datasets.tables import Base as DatasetsBase
from services.specialist.context import SpecialistContext
from services.specialist.migrations import MIGRATIONS as SPECIALIST
from services.specialist.tables import Base as SpecialistBase
from services.training.context import TrainingContext
from services.training.migrations import MIGRATIONS as TRAINING
from services.training.settings import BackendMissing, TrainingSettings
from services.training.tables import Base as TrainingBase
from vila2.client import TIMEOUT, Client
from vila2.data.fetch import FetchPolicy
from vila2.triton.server import TritonServer, free_ports

TEAM = "local"
# What opening a workspace raises where its databases are not of this version.
OF_ANOTHER_VERSION = (DatabaseNewer, DatabaseUnknown)
# What settings raise that name a seam this machine cannot have.
WRONG_SETTINGS = (ValidationError, BackendMissing)


class WorkspaceBusy(RuntimeError):
    """Another process runs this workspace."""


class Standalone:
    """The platform in one workspace folder; use it as a context manager.

    `slots` jobs train or evaluate at once; by default one per core, at most two. `fetching` bounds
    what lists of addresses may reach; `storage` says where rows and objects lie, by default as the
    environment does; `captioning` says the same of the engine and its workers, `training` of where
    jobs run. With `triton` a Triton server is started for the captions and ended with the platform.
    """

    def __init__(
        self,
        workspace: Path,
        *,
        slots: int | None = None,
        fetching: FetchPolicy | None = None,
        storage: StorageSettings | None = None,
        captioning: CaptionSettings | None = None,
        training: TrainingSettings | None = None,
        triton: bool = False,
    ) -> None:
        self._fetching = fetching
        self._captioning = captioning or CaptionSettings()
        self._training = training or TrainingSettings()
        self._triton: TritonServer | None = None
        self._storage = storage or StorageSettings()
        self.workspace = workspace.resolve()
        self.workspace.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(self.workspace / "lock")
        configure_logging(path=self.workspace / "log.jsonl")
        self._keys = KeyRing(self.workspace / "keys.json")
        self.key = self._key("key", ALL_SCOPES)
        self._service_key = self._key("service-key", (*ALL_SCOPES, ACT_AS))
        self._apps_thread = AppThread()
        self.apps: dict[str, FastAPI] = {}
        self._internal = self._client(self._service_key)
        self.client = self._client(self.key)
        if triton:
            self._start_triton()
        try:
            self._build(slots or min(2, os.cpu_count() or 1))
        except BaseException:
            self._stop_triton()
            self._lock.close()
            raise

    def _key(self, name: str, scopes: tuple[str, ...]) -> str:
        """The workspace's own key: made once, kept where only its owner can read it."""
        path = self.workspace / name
        if path.exists():
            held = self._keys.principal(path.read_text().strip())
            # A workspace of before a scope was added gets a key with it.
            if held is not None and held.scopes >= set(scopes):
                return path.read_text().strip()
        key = self._keys.issue(team=TEAM, scopes=scopes)
        write_private(path, key)
        return key

    def _client(self, key: str) -> Client:
        return Client(
            lambda service: httpx2.Client(
                base_url=f"http://{service}/",
                headers={"authorization": f"Bearer {key}"},
                timeout=TIMEOUT,
                transport=_Late(self, service),
            )
        )

    def _build(self, slots: int) -> None:
        sources = sources_of(self.workspace)
        storage = self._storage
        objects = storage.objects(self.workspace, sources)
        platform = self._internal.as_team

        def database(base: type[DeclarativeBase], migrations: Migrations) -> Database:
            return storage.database(self.workspace, base.metadata, migrations)

        datasets = DatasetsContext(
            database=database(DatasetsBase, DATASETS),
            objects=objects,
            queue=InProcessQueue(name="ingest"),
            platform=platform,
            sources=sources,
            fetching=self._fetching,
        )
        training = TrainingContext(
            database=database(TrainingBase, TRAINING),
            objects=objects,
            backend=self._training.backend(self.workspace),
            platform=platform,
            root=self.workspace / "training",
            slots=slots,
            accelerator=self._training.training_accelerator,
            interrupt_on_stop=not self._training.jobs_outlive_the_service,
        )
        caption = CaptionContext(
            database=database(CaptionBase, CAPTION),
            objects=objects,
            # With a broker, shards are for workers of their own; here hints are only published.
            queue=self._captioning.queue(workers=self._captioning.local_workers),
            platform=platform,
            settings=self._captioning,
        )
        specialist = SpecialistContext(
            database=database(SpecialistBase, SPECIALIST), platform=platform
        )
        broker = self._captioning.broker_url.get_secret_value()
        controller = ControllerContext(
            database=database(ControllerBase, CONTROLLER),
            platform=platform,
            sink=RedisSink(broker) if broker else None,
        )
        if not storage.shared:
            # This process holds the workspace's lock, so whoever held a lease is gone.
            datasets.units.release_all()
            training.claims.release_all()
            controller.leadership.depose()
            if not self._captioning.workers_apart:
                caption.units.release_all()
        self.apps = {
            "datasets": datasets_app.create_app(datasets, keys=self._keys),
            "training": training_app.create_app(training, keys=self._keys),
            "caption": caption_app.create_app(caption, keys=self._keys),
            "specialist": specialist_app.create_app(specialist, keys=self._keys),
            "controller": controller_app.create_app(controller, keys=self._keys),
        }

    def __enter__(self) -> Standalone:
        for app in self.apps.values():
            self._apps_thread.start(app)
        return self

    def __exit__(
        self,
        _: type[BaseException] | None,
        __: BaseException | None,
        ___: TracebackType | None,
    ) -> None:
        self._apps_thread.stop()
        self._stop_triton()
        self._lock.close()

    def _start_triton(self) -> None:
        """A server of our own over the models that this platform publishes."""
        grpc_port, http_port, metrics_port = free_ports(3)
        self._triton = TritonServer(
            self._storage.repository(self.workspace, PREFIX),
            self.workspace / "triton.log",
            grpc_port,
            http_port,
            metrics_port,
            env=self._storage.storage_keys(),
        )
        self._triton.start()
        self._captioning = self._captioning.model_copy(update={"triton_url": self._triton.url})

    def _stop_triton(self) -> None:
        if self._triton is not None:
            self._triton.stop()

    def transport(self, service: str) -> InProcessTransport:
        """A client transport into one of the services."""
        return InProcessTransport(self.apps[service], self._apps_thread)


class _Late(httpx2.BaseTransport):
    """Finds its app when it is first used, since clients are made before the apps they call."""

    def __init__(self, platform: Standalone, service: str) -> None:
        self._platform, self._service = platform, service
        self._transport: InProcessTransport | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._transport is None:
            self._transport = self._platform.transport(self._service)
        return self._transport.handle_request(request)


def mounted(platform: Standalone) -> FastAPI:
    """One app with each service below its own name, for `vila2 up`."""
    front = FastAPI(title="VILA²", docs_url=None, redoc_url=None, openapi_url=None)
    for name, app in platform.apps.items():
        front.mount(f"/{name}", app)

    @front.get("/", include_in_schema=False)
    def index() -> dict[str, str]:
        return {name: f"/{name}/docs" for name in platform.apps}

    return front


def _lock(path: Path) -> TextIO:
    """Hold the workspace: two processes on one would each believe the other dead."""
    handle = path.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise WorkspaceBusy(
            f"another process runs the workspace {path.parent}: stop it, or choose another "
            "with --workspace"
        ) from error
    return handle
