"""The model registry: what was trained, from what, on what; every model under its digest."""

from __future__ import annotations

from pathlib import Path

from google.protobuf import json_format
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.database import Database, exclusively
from services.chassis.errors import NotFound
from services.chassis.objects import ObjectStore
from services.training.tables import ModelRow
from vila2.api import training as api
from vila2.wire.manifests_pb2 import ModelManifest


class Registry:
    """Owns the table `models`."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database, self._objects = database, objects

    def add(
        self,
        *,
        team: str,
        base_name: str,
        folder: Path,
        sha256: str,
        parent: str,
        job: str,
        parameters: int,
        data: list[str],
    ) -> str:
        """Store a trained model and return its immutable name, `<name>-<short digest>`."""
        # The job is part of the name: two jobs may well give the same weights.
        name = f"{base_name}-{sha256[:8]}-{job[-4:]}"
        prefix = f"models/{name}"
        self._objects.put_directory(prefix, folder)
        manifest = ModelManifest(
            model=name,
            sha256=sha256,
            job_id=job,
            parent=parent,
            object_prefix=prefix,
            data=data,
        )
        text = json_format.MessageToJson(manifest, sort_keys=True)
        self._objects.put(f"models/{name}.manifest.json", text.encode())
        with self._database.transaction() as session:
            exclusively(session, f"model:{name}")
            if session.get(ModelRow, name) is None:
                session.add(
                    ModelRow(
                        name=name,
                        team=team,
                        sha256=sha256,
                        parent=parent,
                        job=job,
                        object_prefix=prefix,
                        parameters=parameters,
                        data=data,
                    )
                )
        return name

    def get(self, team: str, name: str) -> api.RegisteredModel:
        """A model by name."""
        with self._database.transaction() as session:
            return _model(self._row(session, team, name))

    def of_team(self, team: str) -> list[api.RegisteredModel]:
        """The team's models, oldest first."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(ModelRow).where(ModelRow.team == team).order_by(ModelRow.created_at)
            )
            return [_model(row) for row in rows]

    def locate(self, team: str, name: str) -> Path:
        """The folder of a model's files on this machine."""
        with self._database.transaction() as session:
            return self._objects.local(self._row(session, team, name).object_prefix)

    def _row(self, session: Session, team: str, name: str) -> ModelRow:
        row = session.get(ModelRow, name)
        if row is None or row.team != team:
            raise NotFound(f"no model {name!r}", field="model", fix="`vila2 models` lists them")
        return row


def _model(row: ModelRow) -> api.RegisteredModel:
    return api.RegisteredModel(
        name=row.name,
        sha256=row.sha256,
        parent=row.parent,
        job=row.job,
        object_prefix=row.object_prefix,
        parameters=row.parameters,
        data=row.data,
    )
