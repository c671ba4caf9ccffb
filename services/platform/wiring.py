"""What services are built from, in one process or apart: where things lie, who answers, keys."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from sqlalchemy.orm import DeclarativeBase

from services.caption.settings import CaptionSettings
from services.caption.triton.repository import PREFIX
from services.chassis.storage.database import Database
from services.chassis.storage.migrations import Migrations
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.settings import StorageSettings
from services.chassis.storage.sources import Sources, sources_of
from services.chassis.web.errors import Unauthenticated
from services.identity.identity import Identity
from services.identity.peppers import write_private
from services.identity.require import ACT_AS, ALL_SCOPES
from services.training.settings import TrainingSettings
from vila2.client import Client
from vila2.data.fetch import FetchPolicy

TEAM = "local"


@dataclass
class Seams:
    """The settings of a platform and what is opened once for all services of a process.

    `platform` gives a client that works for a team. `alone` says that no other process works on the
    same rows, so that whoever held a lease before is gone.
    """

    workspace: Path
    platform: Callable[[str], Client]
    identity: Identity
    storage: StorageSettings = field(default_factory=StorageSettings)
    captioning: CaptionSettings = field(default_factory=CaptionSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    fetching: FetchPolicy | None = None
    slots: int = field(default_factory=lambda: min(2, os.cpu_count() or 1))

    @property
    def alone(self) -> bool:
        """Whether this process is the only one."""
        return not self.storage.shared

    @cached_property
    def sources(self) -> Sources:
        """Buckets to register data from."""
        return sources_of(self.workspace)

    @cached_property
    def objects(self) -> ObjectStore:
        """The object store."""
        return self.storage.objects(self.workspace, self.sources)

    def repository(self) -> str:
        """The prefix that Triton reads its models from; it must exist before a server starts."""
        self.objects.put_if_absent(f"{PREFIX}/about.txt", b"the models that Triton serves\n")
        return self.storage.repository(self.workspace, PREFIX)

    def database(self, base: type[DeclarativeBase], migrations: Migrations) -> Database:
        """A service's database, brought to its newest step."""
        return self.storage.database(self.workspace, base.metadata, migrations)


class WorkspaceKeys:
    """The workspace's own keys: made once, kept where only its owner can read them.

    `given` is a key for the services that the operator made elsewhere.
    """

    def __init__(self, workspace: Path, identity: Identity, *, given: str = "") -> None:
        self._workspace, self._identity, self._given = workspace, identity, given

    @property
    def user(self) -> str:
        """The key that the command line finds: every scope, in the team `local`."""
        return self._key("key", ALL_SCOPES)

    @property
    def service(self) -> str:
        """The key by which services call each other, for whichever team."""
        if self._given:
            return self._given
        return self._key("service-key", (*ALL_SCOPES, ACT_AS))

    def _key(self, name: str, scopes: tuple[str, ...]) -> str:
        path = self._workspace / name
        if path.exists() and self._good(path.read_text().strip(), scopes):
            return path.read_text().strip()
        key = self._identity.keys.issue(team=TEAM, scopes=scopes, name=f"the workspace's {name}")
        write_private(path, key)
        return key

    def _good(self, key: str, scopes: tuple[str, ...]) -> bool:
        """Whether a key is known and has all scopes: that of an older workspace may lack one."""
        try:
            return self._identity.principal(key).scopes >= set(scopes)
        except Unauthenticated:
            return False
