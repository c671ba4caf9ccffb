"""The model registry: models with their lineage, data and scores.

Weights are immutable and named by their digest. A new score increases the model's revision, which
marks its card as out of date.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import NotFound
from services.chassis.web.paging import WHOLE, Page
from services.training.registry.card import model_card
from services.training.tables import EvaluationRow, ModelRow
from vila2.model.digest import file_digest
from vila2.schemas.rest import training as api
from vila2.wire.manifests_pb2 import ModelManifest

CARD = "README.md"


class Registry:
    """Owns the tables `models` and, with `Imports`, `evaluations`."""

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
        data: Sequence[str],
        run: str = "",
        lineage: Sequence[Mapping[str, Any]] = (),
        config: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
    ) -> str:
        """Store a trained model and return its immutable name, `<name>-<short digest>`.

        `data` names the datasets that were read, `lineage` lists them by stage with versions,
        `config` is the training as requested, and `result` the trainer's result. Idempotent.
        """
        name = self._free_name(f"{base_name}-{sha256[:8]}", job)
        prefix = f"models/{name}"
        self._objects.put_directory(prefix, folder)
        manifest = ModelManifest(
            model=name,
            sha256=sha256,
            job_id=job,
            parent=parent,
            object_prefix=prefix,
            data=list(data),
        )
        text = json_format.MessageToJson(manifest, sort_keys=True)
        self._objects.put(f"models/{name}.manifest.json", text.encode())
        with self._database.transaction() as session:
            exclusively(session, f"model:{name}")
            held = session.get(ModelRow, name)
            if held is not None and held.job != job:
                raise RuntimeError(f"the name {name} was taken meanwhile: add the model again")
            if held is None:
                session.add(
                    ModelRow(
                        name=name,
                        team=team,
                        sha256=sha256,
                        parent=parent,
                        job=job,
                        object_prefix=prefix,
                        parameters=parameters,
                        data=list(data),
                        files=files_of(folder),
                        lineage=[dict(item) for item in lineage],
                        config=dict(config or {}),
                        result=dict(result or {}),
                        run=run,
                    )
                )
        return name

    def _free_name(self, start: str, job: str) -> str:
        """The start and as much of the job's id as tells it from models of other jobs.

        Two jobs may well give the same weights, those of two teams too.
        """
        names = [f"{start}-{job[-length:]}" for length in (4, 8, len(job))]
        with self._database.reading() as session:
            rows = {row.name: row.job for row in session.scalars(
                select(ModelRow).where(ModelRow.name.in_(names))
            )}  # fmt: skip
        return next((name for name in names if rows.get(name, job) == job), names[-1])

    def record_evaluations(
        self,
        team: str,
        model: str,
        *,
        job: str,
        version: str,
        scores: Sequence[Mapping[str, Any]],
    ) -> None:
        """Store the scores of an evaluation job. Idempotent."""
        with self._database.transaction() as session:
            exclusively(session, f"model:{model}")
            row = self._row(session, team, model)
            known = set(
                session.scalars(select(EvaluationRow.benchmark).where(EvaluationRow.job == job))
            )
            found = [score for score in scores if score["benchmark"] not in known]
            for score in found:
                session.add(
                    EvaluationRow(
                        job=job,
                        benchmark=score["benchmark"],
                        model=model,
                        version=version[:400],
                        value=score["score"],
                        low=score["low"],
                        high=score["high"],
                        items=score["n"],
                        metric=score.get("metric", ""),
                        figures=list(score.get("figures", [])),
                    )
                )
            if found:
                row.revision += 1

    def get(self, team: str, name: str) -> api.RegisteredModel:
        """A model by name."""
        with self._database.transaction() as session:
            return model_of(self._row(session, team, name))

    def details(self, team: str, name: str) -> api.ModelDetails:
        """A model's files, lineage and configuration, with its scores, newest first."""
        with self._database.transaction() as session:
            return _details(session, self._row(session, team, name))

    def of_team(self, team: str, page: Page = WHOLE) -> list[api.RegisteredModel]:
        """The team's models, oldest first."""
        with self._database.reading() as session:
            chosen = select(ModelRow).where(ModelRow.team == team, ModelRow.hidden.is_(False))
            rows = page.rows(session, chosen, ModelRow.created_at, ModelRow.name)
            return [model_of(row) for row in rows]

    def locate(self, team: str, name: str) -> Path:
        """The folder of a model's files on this machine."""
        with self._database.transaction() as session:
            return self._objects.local(self._row(session, team, name).object_prefix)

    def file(self, team: str, name: str, file: str) -> Path:
        """Path of one of a model's files; any other name raises `NotFound`."""
        details = self.details(team, name)
        if file not in [held.name for held in details.files]:
            raise NotFound(f"{name} has no file {file!r}", field="file", fix="list its files")
        path = self._objects.local(f"{details.object_prefix}/{file}")
        if not path.is_file():
            raise NotFound(f"the file {file!r} of {name} is lost", fix="train the model again")
        return path

    def card(self, team: str, name: str) -> str:
        """The model's current card."""
        with self._database.transaction() as session:
            return _card(session, self._row(session, team, name))

    def write_cards(self) -> None:
        """Update the cards stored beside the weights."""
        with self._database.transaction() as session:
            behind = session.scalars(select(ModelRow).where(ModelRow.carded < ModelRow.revision))
            cards = [
                (row.name, row.object_prefix, row.revision, _card(session, row)) for row in behind
            ]
        for name, prefix, revision, text in cards:
            self._objects.put(f"{prefix}/{CARD}", text.encode())
            with self._database.transaction() as session:
                session.execute(
                    update(ModelRow)
                    .where(ModelRow.name == name, ModelRow.carded < revision)
                    .values(carded=revision)
                )

    def _row(self, session: Session, team: str, name: str) -> ModelRow:
        return model_row(session, team, name)


def files_of(folder: Path) -> list[dict[str, Any]]:
    """A folder's files with sizes in bytes and digests, as the table keeps them."""
    return [
        api.File(name=path.name, bytes=path.stat().st_size, sha256=file_digest(path)).model_dump()
        for path in sorted(folder.iterdir())
        if path.is_file()
    ]


def named_by_team(session: Session, team: str, short_name: str) -> ModelRow | None:
    """The model that a team added under this name."""
    chosen = select(ModelRow).where(
        ModelRow.team == team, ModelRow.short_name == short_name, ModelRow.hidden.is_(False)
    )
    return session.scalar(chosen.order_by(ModelRow.created_at.desc()).limit(1))


def model_row(session: Session, team: str, name: str) -> ModelRow:
    """A team's model by its full or short name; another team's model is not found."""
    row = session.get(ModelRow, name) or (named_by_team(session, team, name) if name else None)
    if row is None or row.team != team:
        raise NotFound(
            f"no model {name!r}", field="model", fix="`vila2 models list` tells which there are"
        )
    return row


def model_of(row: ModelRow) -> api.RegisteredModel:
    """A row as an API model."""
    return api.RegisteredModel(
        name=row.name,
        sha256=row.sha256,
        parent=row.parent,
        job=row.job,
        object_prefix=row.object_prefix,
        parameters=row.parameters,
        short_name=row.short_name,
        origin=row.origin or None,
        removed=row.hidden and not row.short_name,
        data=row.data,
        created_at=row.created_at,
    )


def evaluations_of(session: Session, model: str) -> list[api.Evaluation]:
    """A model's scores, newest first."""
    rows = session.scalars(
        select(EvaluationRow)
        .where(EvaluationRow.model == model)
        .order_by(EvaluationRow.created_at.desc(), EvaluationRow.benchmark)
    )
    return [
        api.Evaluation(
            model=row.model,
            benchmark=row.benchmark,
            version=row.version,
            value=row.value,
            low=row.low,
            high=row.high,
            items=row.items,
            job=row.job,
            at=row.created_at,
            metric=row.metric,
            source=row.source,
            figures=[api.Figure.model_validate(figure) for figure in row.figures],
        )
        for row in rows
    ]


def _details(session: Session, row: ModelRow) -> api.ModelDetails:
    return api.ModelDetails(
        **model_of(row).model_dump(),
        run=row.run,
        files=[api.File.model_validate(file) for file in row.files],
        lineage=[api.LineageItem.model_validate(item) for item in row.lineage],
        config=row.config,
        result=row.result,
        evaluations=evaluations_of(session, row.name),
    )


def _card(session: Session, row: ModelRow) -> str:
    return model_card(_details(session, row))
