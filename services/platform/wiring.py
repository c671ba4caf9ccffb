"""Shared dependencies of the services: storage, databases, clients and keys."""

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
from services.identity.require_scope import ACT_AS, ALL_SCOPES
from services.training.settings import TrainingSettings
from vila2.client import Client
from vila2.data.fetch import FetchPolicy

TEAM = "local"


@dataclass
class Seams:
    """A platform's settings, and the resources shared by all services of a process.

    `platform` returns a client that acts for a team. If `alone` is true, no other process uses the
    same databases, so every existing lease is stale.
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
        """The configured sources: buckets to register data from."""
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
        """Open a service's database and apply pending migrations."""
        return self.storage.database(self.workspace, base.metadata, migrations)


class WorkspaceKeys:
    """The workspace's own keys: created once, in files that only the owner can read.

    `given` is a service key that the operator created elsewhere.
    """

    def __init__(self, workspace: Path, identity: Identity, *, given: str = "") -> None:
        self._workspace, self._identity, self._given = workspace, identity, given

    @property
    def user(self) -> str:
        """The command line's key: every scope, in the team `local`."""
        return self._key("key", ALL_SCOPES)

    @property
    def service(self) -> str:
        """The key with which services call each other on behalf of any team."""
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
        """Whether a key is valid and has all scopes: an older workspace's key may lack one."""
        try:
            return self._identity.principal(key).scopes >= set(scopes)
        except Unauthenticated:
            return False
