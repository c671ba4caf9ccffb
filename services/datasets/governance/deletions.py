"""Deletions of versions and datasets: who may ask, what forbids it, and the records."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.web.errors import Conflict, NotFound
from services.chassis.web.paging import Page
from services.chassis.work.units import CANCELLED, DONE, FAILED, WorkUnits
from services.datasets.governance.deletion_steps import INTERNAL, mark_deleted
from services.datasets.governance.dependents import Target, dependents, trained_on
from services.datasets.governance.history import record
from services.datasets.lookup import GONE, dataset_row, find_dataset, shown_state, version_row
from services.datasets.tables import DeletionRow, LayerRow, VersionRow, WorkUnitRow
from services.datasets.versions.exclusion_shards import EXCLUSION_TASK
from services.identity.require_scope import Principal
from vila2.client import Client
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest import dataset_upkeep as api
from vila2.schemas.rest.base import Progress

DELETION_TASK = "datasets.deletion"
_PLAIN = api.DeletionIn()


class Deletions:
    """Owns the table `deletions`, with the steps of `deletion_steps`."""

    def __init__(
        self,
        database: Database,
        units: WorkUnits,
        platform: Callable[[str], Client],
    ) -> None:
        self._database, self._units, self._platform = database, units, platform

    def start(
        self,
        caller: Principal,
        name: str,
        number: int | None = None,
        asked: api.DeletionIn = _PLAIN,
        *,
        only_if: Callable[[VersionRow], bool] = lambda _: True,
    ) -> api.Deletion:
        """Delete a version, or the whole dataset; one that was deleted returns its record.

        `only_if` is asked of each version while it is locked; if it says no, this is a `Conflict`.

        Raises `Conflict` that names what depends on it: caption layers and models trained on it,
        unless `asked` says otherwise, caption jobs and runs in progress, an ingest, and the
        dataset's name if it refers to this version while another one is ready.
        """
        with self._database.transaction() as session:
            known = self._known(session, caller.team, name, number)
            if known is not None:
                self._units.retry(session, known.id)
                return self._deletion(session, known)
            chosen, target = _target(session, caller.team, name, number)
        models: list[str] = []
        # Nothing else can depend on data that was never ready. What was ready may have no samples
        # left, and layers all the same.
        if any(version.state == "ready" for version in chosen):
            platform = self._platform(caller.team)
            models = trained_on(platform, target)
            dependents(
                platform,
                target,
                with_layers=asked.with_layers,
                models=() if asked.despite_models else models,
            ).check(target)
        with self._database.transaction() as session:
            dataset = dataset_row(session, caller.team, name)
            # Locked before they are read again: now no version or layer can be added.
            session.refresh(dataset, with_for_update=True)
            for version in chosen:
                session.refresh(session.get_one(VersionRow, version.id), with_for_update=True)
            chosen, now = _target(session, caller.team, name, number)
            if now != target or not all(map(only_if, chosen)):
                raise Conflict(f"{target.what} was changed meanwhile", fix="delete it again")
            effects = mark_deleted(session, self._units, dataset, chosen, now.layers)
            dataset.deleted = number is None
            row = DeletionRow(
                id=f"deletion-{uuid.uuid4().hex[:12]}",
                team=caller.team,
                dataset=name,
                version=number or 0,
                reason=asked.reason,
                by_key=caller.key,
                state="running",
                effects={**effects, "models": models},
                created_at=time.time(),
            )
            session.add(row)
            payload = {"deletion": row.id, "team": caller.team}
            unit = WorkUnitRow(id=row.id, task=DELETION_TASK, subject=row.id, payload=payload)
            self._units.add(session, [unit])
            action = "dataset-deleted" if number is None else "version-deleted"
            record(session, caller, action, target.what, asked.reason)
            session.flush()
            return self._deletion(session, row)

    def get(self, team: str, deletion: str) -> api.Deletion:
        """The record of a deletion; raises `NotFound`."""
        with self._database.reading() as session:
            row = session.get(DeletionRow, deletion)
            if row is None or row.team != team:
                raise NotFound(f"no deletion {deletion!r}", field="deletion")
            return self._deletion(session, row)

    def of_team(self, team: str, page: Page) -> list[api.Deletion]:
        """The team's deletions, newest first."""
        chosen, at = select(DeletionRow).where(DeletionRow.team == team), DeletionRow.created_at
        with self._database.reading() as session:
            rows = page.rows(session, chosen, at, DeletionRow.id, newest_first=True)
            return [self._deletion(session, row) for row in rows]

    def _known(
        self, session: Session, team: str, name: str, number: int | None
    ) -> DeletionRow | None:
        """The record of this deletion if it was asked for before: a reply may have been lost."""
        dataset = find_dataset(session, team, name)
        if dataset is None or (number is None and not dataset.deleted):
            return None
        held = None
        if number is not None:
            of = VersionRow.dataset_id == dataset.id
            held = session.scalar(select(VersionRow).where(of, VersionRow.number == number))
            if held is None or held.state not in GONE:
                return None
        records = session.scalars(
            select(DeletionRow)
            .where(
                DeletionRow.team == team,
                DeletionRow.dataset == name,
                # A version may have been deleted with its dataset.
                DeletionRow.version.in_((0, number or 0)),
            )
            .order_by(DeletionRow.version.desc(), DeletionRow.created_at.desc())
        ).all()
        if held is None:
            return next(iter(records), None)
        # The name may have been used again, and deleted again, since.
        return next((row for row in records if held.id in row.effects["ids"]), None)

    def _deletion(self, session: Session, row: DeletionRow) -> api.Deletion:
        unit = session.get(WorkUnitRow, row.id)
        failed = unit is not None and unit.state == FAILED
        shown = {name: held for name, held in row.effects.items() if name not in INTERNAL}
        return api.Deletion(
            id=row.id,
            dataset=row.dataset,
            version=row.version,
            reason=row.reason,
            by_key=row.by_key,
            state="failed" if failed else row.state,
            error=unit.error if failed and unit is not None else "",
            created_at=row.created_at,
            progress=Progress(done=(unit.progress or 0) if unit else 0, unit="shards"),
            **shown,
        )


def _target(
    session: Session, team: str, name: str, number: int | None
) -> tuple[list[VersionRow], Target]:
    """The versions to delete; raises `Conflict` if the store itself must keep one."""
    dataset = dataset_row(session, team, name)
    held = session.scalars(
        select(VersionRow)
        .where(VersionRow.dataset_id == dataset.id, VersionRow.state.not_in(GONE))
        .order_by(VersionRow.number)
    ).all()
    chosen = list(held) if number is None else [version_row(session, dataset, number)]
    others = [row.number for row in held if row.state == "ready" and row not in chosen]
    what = name if number is None else str(DatasetRef(name, number))
    in_use = dataset.latest in {row.number for row in chosen}
    for row in chosen:
        if shown_state(session, row)[0] == "ingesting":
            raise Conflict(
                f"{DatasetRef(name, row.number)} is being ingested",
                field="number",
                fix="wait until it is ready or has failed",
            )
    if in_use and others:
        raise Conflict(
            f"{what} is the version that the name {name} refers to",
            field="number",
            fix=f"choose another one first: `vila2 datasets use {name}@{others[-1]}`",
        )
    if copy := _copied_to(session, {row.id for row in chosen}):
        raise Conflict(
            f"{what} is being copied, without some samples, to {DatasetRef(name, copy)}",
            field="number",
            fix="wait until that version is ready or has failed",
        )
    layers = session.execute(
        select(LayerRow.id, LayerRow.name)
        .where(LayerRow.version_id.in_([row.id for row in chosen]))
        .order_by(LayerRow.created_at, LayerRow.id)
    )
    return chosen, Target(
        what,
        tuple(DatasetRef(name, row.number) for row in chosen),
        tuple((layer, called) for layer, called in layers),
        bare=name if in_use else "",
    )


def _copied_to(session: Session, versions: set[int]) -> int:
    """Number of the version that an exclusion makes of one of these; 0 if there is none."""
    units = session.scalars(
        select(WorkUnitRow).where(
            WorkUnitRow.task == EXCLUSION_TASK,
            WorkUnitRow.state.not_in((DONE, FAILED, CANCELLED)),
        )
    )
    for unit in units:
        if int(unit.payload["from"]) in versions:
            return session.get_one(VersionRow, int(unit.payload["version_id"])).number
    return 0
