"""Promotions, rollbacks and retirements: asked for, decided, and kept.

A promotion takes as long as loading the model does, so it is a row that a level-triggered loop
decides; a process that dies meanwhile leaves it to be decided again. In each line of a team at most
one model is in production: the one it replaces is archived, and a rollback puts it back.
"""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.database import Database, exclusively
from services.chassis.errors import Conflict, NotFound
from services.chassis.metrics import PROMOTIONS
from services.chassis.objects import ObjectStore
from services.chassis.rest.paging import WHOLE, Page
from services.training.promotion.gate import Facts, illegal_move, judge
from services.training.promotion.serving import Served, ServingCheck
from services.training.registry import change_of, evaluations_of, model_row
from services.training.tables import ModelRow, StageChangeRow
from vila2.api import training as api
from vila2.model.golden import GOLDEN_FILE
from vila2.weights import folder_digest

_log = structlog.get_logger()


class Promotions:
    """Owns the table `stage_changes`, and the stages of models."""

    def __init__(self, database: Database, objects: ObjectStore, serving: ServingCheck) -> None:
        self._database, self._objects, self._serving = database, objects, serving

    def ask(self, team: str, model: str, body: api.PromotionIn, *, by: str) -> api.StageChange:
        """Ask for a promotion; it is decided soon, and refused at once where no gate could help."""
        with self._database.transaction() as session:
            row = model_row(session, team, model, lock=True)
            reason = illegal_move(row.stage, body.stage)  # type: ignore[arg-type]
            if reason:
                raise Conflict(reason, field="stage", fix="promote it step by step")
            if body.stage == "production" and row.line and row.line != body.line:
                raise Conflict(f"{model} is in the line {row.line!r}", field="line", fix="use it")
            change = _change(row, "promote", body.stage, body.line, by=by, note=body.note)
            change.require = [requirement.model_dump() for requirement in body.require]
            session.add(change)
            session.flush()
            return change_of(change)

    def history(self, team: str, model: str, page: Page = WHOLE) -> list[api.StageChange]:
        """All that was asked for a model, the newest first."""
        chosen = select(StageChangeRow).where(StageChangeRow.model == model)
        with self._database.reading() as session:
            model_row(session, team, model)
            rows = page.rows(
                session, chosen, StageChangeRow.created_at, StageChangeRow.id, newest_first=True
            )
            return [change_of(row) for row in rows]

    def get(self, team: str, change: str) -> api.StageChange:
        """One of them."""
        with self._database.transaction() as session:
            row = session.get(StageChangeRow, change)
            if row is None or row.team != team:
                raise NotFound(f"no stage change {change!r}", field="change")
            return change_of(row)

    def retire(self, team: str, model: str, reason: str, *, by: str) -> api.StageChange:
        """Archive a model that is not in production."""
        with self._database.transaction() as session:
            row = model_row(session, team, model, lock=True)
            if row.stage in ("production", "archived"):
                raise Conflict(
                    f"{model} is {row.stage}", field="model", fix="promote another, or roll back"
                )
            change = _change(row, "retire", "archived", row.line, by=by, note=reason)
            change.state = "done"
            session.add(change)
            row.stage, row.revision = "archived", row.revision + 1
            session.flush()
            PROMOTIONS.labels("retire", "done").inc()
            return change_of(change)

    def rollback(self, team: str, line: str, reason: str, *, by: str) -> api.StageChange:
        """Put the model back that the present production model of a line replaced."""
        with self._database.transaction() as session:
            present, before = self._before(session, team, line)
            folder, stated = self._objects.local(before.object_prefix), before.sha256
        stored = _digest(folder)
        if stored != stated:
            raise Conflict(f"the stored weights of {before.name} are not those that were trained")
        with self._database.transaction() as session:
            exclusively(session, f"line:{team}:{line}")
            again, before = self._before(session, team, line)
            if again.name != present.name:
                raise Conflict(f"the line {line} has just changed", fix="look, and roll back again")
            change = _change(before, "rollback", "production", line, by=by, note=reason)
            change.state, change.replaced = "done", again.name
            change.evidence = {"digest": stored}
            session.add(change)
            for row, stage in ((again, "archived"), (before, "production")):
                row.stage, row.revision = stage, row.revision + 1
            session.flush()
            PROMOTIONS.labels("rollback", "done").inc()
            return change_of(change)

    def decide_all(self) -> None:
        """Decide every promotion that waits for it."""
        with self._database.transaction() as session:
            waiting = session.scalars(
                select(StageChangeRow.id)
                .where(StageChangeRow.state == "checking")
                .order_by(StageChangeRow.created_at)
            ).all()
        for change in waiting:
            self._decide(change)

    def _decide(self, change_id: str) -> None:
        with self._database.transaction() as session:
            change = session.get_one(StageChangeRow, change_id)
            model = session.get_one(ModelRow, change.model)
            folder, stated = self._objects.local(model.object_prefix), model.sha256
        facts, versions = self._facts(folder, stated)
        crashpoint("promotion.checked")
        with self._database.transaction() as session:
            exclusively(session, f"line:{change.team}:{change.line}")
            row = session.get_one(StageChangeRow, change_id, with_for_update=True)
            if row.state != "checking":
                return
            model = session.get_one(ModelRow, row.model, with_for_update=True)
            required = [api.Requirement.model_validate(r) for r in row.require]
            reason, evidence = judge(facts, required, evaluations_of(session, row.model))
            # Somebody may have moved it meanwhile.
            reason = reason or illegal_move(model.stage, row.after)  # type: ignore[arg-type]
            row.evidence = {**evidence, "serving": versions, "require": row.require}
            row.state, row.reason = ("refused", reason) if reason else ("done", "")
            if not reason:
                self._move(session, model, row)
        PROMOTIONS.labels("promote", "refused" if reason else "done").inc()
        _log.info("promotion decided", change=change_id, model=change.model, reason=reason)

    def _move(self, session: Session, model: ModelRow, row: StageChangeRow) -> None:
        if row.after == "production":
            present = _production(session, row.team, row.line)
            if present is not None:
                present.stage, present.revision = "archived", present.revision + 1
                row.replaced = present.name
        model.stage, model.line, model.revision = row.after, row.line, model.revision + 1

    def _facts(self, folder: Path, stated: str) -> tuple[Facts, dict[str, Any]]:
        """The weights' digest and, only if they are the right ones, what they answer."""
        stored = _digest(folder)
        try:
            golden = json.loads((folder / GOLDEN_FILE).read_text())
        except (OSError, ValueError):
            golden = []
        served = Served({}, "not asked, since the weights are not the right ones")
        if golden and stored == stated:
            served = self._serving.ask(folder)
        answers = served.told.pop("answers", [])
        return Facts(stated, stored, golden, answers, served.reason), served.told

    def _before(self, session: Session, team: str, line: str) -> tuple[ModelRow, ModelRow]:
        """The model in production, and the one that it replaced when it was promoted."""
        present = _production(session, team, line)
        if present is None:
            raise NotFound(f"no model is in production in the line {line!r}", field="line")
        came = session.scalar(
            select(StageChangeRow)
            .where(
                StageChangeRow.model == present.name,
                StageChangeRow.line == line,
                StageChangeRow.action == "promote",
                StageChangeRow.after == "production",
                StageChangeRow.state == "done",
            )
            .order_by(StageChangeRow.created_at.desc())
            .limit(1)
        )
        if came is None or not came.replaced:
            raise Conflict(f"{present.name} is the first of the line {line!r}", field="line")
        return present, session.get_one(ModelRow, came.replaced)


def _production(session: Session, team: str, line: str) -> ModelRow | None:
    held = (ModelRow.team == team, ModelRow.line == line, ModelRow.stage == "production")
    return session.scalar(select(ModelRow).where(*held))


def _change(
    row: ModelRow, action: str, after: str, line: str, *, by: str, note: str
) -> StageChangeRow:
    return StageChangeRow(
        id=f"change-{uuid.uuid4().hex[:12]}",
        team=row.team,
        model=row.name,
        line=line,
        action=action,
        before=row.stage,
        after=after,
        state="checking",
        asked_by=by,
        note=note,
    )


def _digest(folder: Path) -> str:
    """The digest of the stored weights; of a folder that is gone, none."""
    return folder_digest(folder) if folder.is_dir() else ""
