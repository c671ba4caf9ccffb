"""Models that were added from elsewhere: entering the registry, and leaving it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import update

from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Conflict
from services.training.registry.registry import files_of, model_of, model_row
from services.training.tables import ModelRow
from vila2.schemas.rest import training as api


@dataclass(frozen=True, slots=True)
class NewModel:
    """A model from elsewhere, as it is registered."""

    team: str
    short_name: str
    sha256: str
    parent: str
    job: str  # the import
    parameters: int
    origin: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Its immutable name; it includes the team, as two teams may add the same weights."""
        team = hashlib.sha256(self.team.encode()).hexdigest()[:4]
        return f"{self.short_name}-{self.sha256[:8]}-{team}"


class AddedModels:
    """Adds rows to the registry's table `models`, and removes what they stand for."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database, self._objects = database, objects

    def add(self, new: NewModel, folder: Path) -> str:
        """Store a model's files and register it, hidden until `reveal`. Idempotent."""
        prefix = f"models/{new.name}"
        self._objects.put_directory(prefix, folder)
        with self._database.transaction() as session:
            exclusively(session, f"model:{new.name}")
            row = session.get(ModelRow, new.name)
            if row is not None and not row.short_name:
                # It was removed, and is added again.
                row.short_name, row.files, row.job = new.short_name, files_of(folder), new.job
            if row is None:
                session.add(
                    ModelRow(
                        name=new.name,
                        team=new.team,
                        sha256=new.sha256,
                        parent=new.parent[:200],
                        job=new.job,
                        short_name=new.short_name,
                        origin=dict(new.origin),
                        hidden=True,
                        object_prefix=prefix,
                        parameters=new.parameters,
                        data=[],
                        files=files_of(folder),
                    )
                )
        return new.name

    def reveal(self, name: str) -> None:
        """List a model that has passed its test."""
        with self._database.transaction() as session:
            session.execute(update(ModelRow).where(ModelRow.name == name).values(hidden=False))

    def remove_hidden(self, name: str) -> None:
        """Delete a model that has not passed its test; a listed model is kept."""
        with self._database.transaction() as session:
            row = session.get(ModelRow, name)
            if row is None or not row.hidden:
                return
            prefix = row.object_prefix
            session.delete(row)
        for key in list(self._objects.keys(prefix)):
            self._objects.delete(key)

    def remove(self, team: str, name: str) -> api.RegisteredModel:
        """Delete an added model's files and free its short name.

        Its entry stays, because captions name it; it can no longer be asked. Raises `Conflict` for
        a model that was trained here: its runs refer to it.
        """
        with self._database.transaction() as session:
            exclusively(session, f"model:{name}")
            row = model_row(session, team, name)
            if not row.origin:
                raise Conflict(
                    f"{row.name} was trained here, and its run refers to it",
                    field="name",
                    fix="only models that were added can be removed",
                )
            row.hidden, row.short_name, row.files = True, "", []
            removed, prefix = model_of(row), row.object_prefix
        for key in list(self._objects.keys(prefix)):
            self._objects.delete(key)
        return removed
