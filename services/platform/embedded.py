"""The embedded platform: the five services in one process.

Only the adapters differ from a cluster: SQLite files, a directory, an in-process queue, calls over
ASGI, the embedded engine, and torchrun subprocesses.
"""

from __future__ import annotations

import fcntl
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TextIO

import httpx2
from fastapi import FastAPI
from pydantic import ValidationError

from services.caption.engines.endpoint.allowed import ANY
from services.caption.settings import CaptionSettings
from services.chassis.process import begin_process
from services.chassis.storage.migrations import DatabaseNewer, DatabaseUnknown
from services.chassis.storage.settings import StorageSettings
from services.chassis.telemetry.tracing import TracingUnavailable
from services.chassis.web.asgi import AppThread, InProcessTransport
from services.identity.peppers import PepperWrong
from services.identity.settings import IdentitySettings
from services.platform.targets import TARGETS
from services.platform.wiring import Seams, WorkspaceKeys
from services.training.settings import BackendMissing, TrainingSettings
from vila2.client import Client
from vila2.client.http import TIMEOUT
from vila2.data.fetch import FetchPolicy
from vila2.triton.keeper import Keeper
from vila2.triton.server import TritonServer, free_ports

# Raised when a workspace's databases do not match this version.
OF_ANOTHER_VERSION = (DatabaseNewer, DatabaseUnknown)
# Raised for settings that this machine does not support.
WRONG_SETTINGS = (ValidationError, BackendMissing, PepperWrong, TracingUnavailable)


class WorkspaceBusy(RuntimeError):
    """Another process runs this workspace."""


class EmbeddedPlatform:
    """The platform in one workspace folder; use it as a context manager.

    `slots` is the number of concurrent training and evaluation jobs, by default one per core and at
    most two. `fetching` restricts which addresses may be fetched. `storage`, `captioning` and
    `training` configure databases and objects, the engine and its workers, and where jobs run; by
    default they come from the environment. With `triton`, a Triton server is started and stopped
    with the platform.
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
        self.workspace = workspace.resolve()
        # Data, texts and names of teams lie in it; a folder that exists keeps its mode.
        self.workspace.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._apps_thread = AppThread()
        self.apps: dict[str, FastAPI] = {}
        self.triton: TritonServer | None = None
        storage = storage or StorageSettings()
        with ExitStack() as opened:
            opened.callback(lock_workspace(self.workspace).close)
            log = self.workspace / "log.jsonl"
            opened.callback(begin_process("standalone", workspace=self.workspace, log=log))
            self.identity = IdentitySettings().open(self.workspace, storage)
            opened.callback(self.identity.close)
            keys = WorkspaceKeys(self.workspace, self.identity)
            self.key = keys.user
            self._internal = self._client(keys.service)
            self.client = self._client(self.key)
            seams = Seams(
                self.workspace,
                self._internal.as_team,
                self.identity,
                storage=storage,
                captioning=captioning or _captioning(),
                training=training or TrainingSettings(),
                fetching=fetching,
            )
            seams.slots = slots or seams.slots
            if triton:
                self.triton = opened.enter_context(Keeper(self._own_triton(seams))).server
                seams.captioning = seams.captioning.model_copy(
                    update={"triton_url": self.triton.url}
                )
            self.apps = {name: build(seams) for name, build in TARGETS.items()}
            # From here on, closing the platform releases the resources, not this block.
            self._opened = opened.pop_all()

    def _client(self, key: str) -> Client:
        return Client(
            lambda service: httpx2.Client(
                base_url=f"http://{service}/",
                headers={"authorization": f"Bearer {key}"},
                timeout=TIMEOUT,
                transport=_Late(self, service),
            )
        )

    def __enter__(self) -> EmbeddedPlatform:
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
        self._opened.close()

    def _own_triton(self, seams: Seams) -> TritonServer:
        """Start a Triton server for the models that this platform publishes."""
        grpc_port, http_port, metrics_port = free_ports(3)
        return TritonServer(
            seams.repository(),
            self.workspace / "triton.log",
            grpc_port,
            http_port,
            metrics_port,
            env=seams.storage.storage_keys(),
        )

    def transport(self, service: str) -> InProcessTransport:
        """A client transport into one of the services."""
        return InProcessTransport(self.apps[service], self._apps_thread)


def _captioning() -> CaptionSettings:
    """From the environment; in the user's own process any endpoint may be asked."""
    settings = CaptionSettings()
    if "endpoints" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"endpoints": ANY})


class _Late(httpx2.BaseTransport):
    """Looks up its app on first use, since clients are created before the apps they call."""

    def __init__(self, platform: EmbeddedPlatform, service: str) -> None:
        self._platform, self._service = platform, service
        self._transport: InProcessTransport | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._transport is None:
            self._transport = self._platform.transport(self._service)
        return self._transport.handle_request(request)


def lock_workspace(workspace: Path) -> TextIO:
    """Lock the workspace until the file is closed, since two processes on one would take each
    other's leases. Raises `WorkspaceBusy`."""
    handle = (workspace / "lock").open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise WorkspaceBusy(
            f"another process runs the workspace {workspace}: stop it, or choose another "
            "with --workspace"
        ) from error
    return handle
