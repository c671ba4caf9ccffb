"""Estimates in the database, so that what a run took can be held against them."""

from __future__ import annotations

import time
import uuid

from sqlalchemy import select

from services.chassis.database import Database
from services.chassis.errors import NotFound
from services.controller.tables import EstimateRow
from vila2.api.estimates import Estimate


class Estimates:
    """Owns the table `estimates`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, team: str, made: Estimate) -> Estimate:
        """Store an estimate; returns it with its id."""
        kept = made.model_copy(
            update={"id": f"estimate-{uuid.uuid4().hex[:8]}", "created_at": time.time()}
        )
        with self._database.transaction() as session:
            session.add(
                EstimateRow(
                    id=kept.id,
                    team=team,
                    recipe_hash=kept.recipe_hash,
                    body=kept.model_dump(mode="json"),
                    created_at=kept.created_at,
                )
            )
        return kept

    def get(self, team: str, estimate: str) -> Estimate:
        """A team's estimate, or `NotFound`."""
        with self._database.transaction() as session:
            row = session.get(EstimateRow, estimate)
            if row is None or row.team != team:
                raise NotFound(f"no estimate {estimate!r}", field="estimate")
            return Estimate.model_validate(row.body)

    def newest(self, team: str, recipe_hash: str) -> Estimate | None:
        """The newest estimate of a recipe, if it was ever estimated."""
        with self._database.transaction() as session:
            row = session.scalar(
                select(EstimateRow)
                .where(EstimateRow.team == team, EstimateRow.recipe_hash == recipe_hash)
                .order_by(EstimateRow.created_at.desc())
                .limit(1)
            )
            return None if row is None else Estimate.model_validate(row.body)
