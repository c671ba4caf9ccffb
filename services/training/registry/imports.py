"""Scores computed by other programs, stored with ours but always distinguishable."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from sqlalchemy import select

from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Invalid, NotFound
from services.training.registry.registry import model_row
from services.training.tables import EvaluationRow
from vila2.schemas.canonical import canonical_json
from vila2.schemas.rest import training as api

_LONGEST_NAME = 200  # maximum length of a benchmark's name in the table


class Imports:
    """Rows of `evaluations` whose `source` is a program's name, and the objects behind them."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database, self._objects = database, objects

    def add(self, team: str, model: str, body: api.ImportIn) -> api.Imported:
        """Store scores, the request and each outcome; importing the same again has no effect.

        A score's benchmark becomes SOURCE/BENCHMARK/METRIC, so it can never meet a requirement on a
        benchmark of the store. The import's id is derived from its model and its content.
        """
        names = _names(body)
        sent = {"model": model, **body.model_dump(mode="json")}
        digest = hashlib.sha256(canonical_json(sent)).hexdigest()
        name = f"import-{digest[:24]}"
        with self._database.transaction() as session:
            model_row(session, team, model)
        outcomes = "".join(f"{json.dumps(each)}\n" for each in sent.pop("outcomes"))
        self._objects.put(_outcomes(name), outcomes.encode())
        self._objects.put(f"evaluations/{name}.json", json.dumps(sent, indent=1).encode())
        with self._database.transaction() as session:
            exclusively(session, f"model:{model}")
            row = model_row(session, team, model)
            held = select(EvaluationRow.job).where(EvaluationRow.job == name).limit(1)
            if session.scalar(held) is None:
                for known_as, score in zip(names, body.scores, strict=True):
                    session.add(_row(name, model, body.source, known_as, score))
                row.revision += 1
        return api.Imported(
            id=name, model=model, scores=len(body.scores), outcomes=len(body.outcomes)
        )

    def outcomes(self, team: str, model: str, name: str) -> Path:
        """The outcomes of an import, as a file of JSON lines."""
        with self._database.transaction() as session:
            model_row(session, team, model)
            held = select(EvaluationRow.job).where(
                EvaluationRow.job == name, EvaluationRow.model == model, EvaluationRow.source != ""
            )
            if session.scalar(held.limit(1)) is None:
                raise NotFound(
                    f"{model} has no import {name!r}",
                    field="import",
                    fix=f"`vila2 models show {model}` tells which there are",
                )
        return self._objects.local(_outcomes(name))


def _names(body: api.ImportIn) -> list[str]:
    """The stored benchmark name of each score; raises `Invalid` for duplicates."""
    names = [f"{body.source}/{score.benchmark}/{score.metric}" for score in body.scores]
    longest = max(names, key=len)
    if len(longest) > _LONGEST_NAME:
        raise Invalid(
            f"{longest[:60]}... has more than {_LONGEST_NAME} characters",
            field="scores",
            fix="give benchmark and metric shorter names",
        )
    if len(set(names)) < len(names):
        raise Invalid(
            "a metric of a benchmark is given twice", field="scores", fix="give each once"
        )
    return names


def _row(
    name: str, model: str, source: str, known_as: str, score: api.ImportedScore
) -> EvaluationRow:
    return EvaluationRow(
        job=name,
        benchmark=known_as,
        model=model,
        version=f"{source}/{score.benchmark}@{score.version}",
        value=score.value,
        low=score.low,
        high=score.high,
        items=score.items,
        metric=score.metric,
        source=source,
    )


def _outcomes(name: str) -> str:
    return f"evaluations/{name}.outcomes.jsonl"
