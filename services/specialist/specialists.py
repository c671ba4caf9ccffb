"""Specialists as small state machines: each step is requested by a key, so it can be repeated."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import structlog
from pydantic import ValidationError
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import SPECIALISTS_NOW
from services.chassis.web.errors import NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.specialist.tables import SpecialistRow
from vila2.client import ApiError, Client
from vila2.schemas.rest import specialist as api
from vila2.schemas.rest.base import Progress
from vila2.schemas.rest.caption import CaptionJobIn
from vila2.schemas.rest.training import JobIn, TrainIn
from vila2.schemas.stages import Execution
from vila2.system import tracing

_log = structlog.get_logger()
_ACTIVE = ("training", "captioning")


class Specialists:
    """Owns the table `specialists`; trains and captions through the other services' clients."""

    def __init__(self, database: Database, platform: Callable[[str], Client]) -> None:
        self._database, self._platform = database, platform

    def start(self, team: str, body: api.SpecialistIn, token: str | None = None) -> api.Specialist:
        """Start a specialist; a known token returns its specialist."""
        asked = KeyedRequest.of(token, body)

        def found_or_made(session: Session) -> SpecialistRow:
            row = asked.find(session, SpecialistRow, team=team)
            if row is None:
                row = SpecialistRow(
                    id=f"specialist-{uuid.uuid4().hex[:12]}",
                    team=team,
                    **asked.columns,
                    body=body.model_dump(),
                    state="training",
                )
                session.add(row)
                session.flush()
            return row

        return self._specialist(create_once(self._database, found_or_made))

    def get(self, team: str, specialist_id: str) -> api.Specialist:
        """A specialist and its progress."""
        with self._database.transaction() as session:
            row = self._row(session, team, specialist_id)
        return self._specialist(row)

    def cancel(self, team: str, specialist_id: str) -> api.Specialist:
        """Cancel a specialist and the jobs it started in other services."""
        with self._database.transaction() as session:
            row = self._row(session, team, specialist_id, lock=True)
            if row.state in _ACTIVE:
                row.state = "cancelled"
        platform = self._platform(team)
        if row.job:
            platform.training.cancel(row.job)
        if row.layer_job:
            platform.caption.cancel_job(row.layer_job)
        return self._specialist(row)

    def tick(self) -> None:
        """Advance every specialist by one step; one that fails does not block the others."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(SpecialistRow).where(SpecialistRow.state.in_(_ACTIVE))
            ).all()
        for row in rows:
            run = str(row.body.get("run", ""))
            asked = row.job if row.state == "training" else row.layer_job
            with (
                tracing.within(tracing.root(run or row.id, recorded=not asked)),
                structlog.contextvars.bound_contextvars(specialist=row.id, run=run),
            ):
                self._try(row)

    def _try(self, row: SpecialistRow) -> None:
        try:
            self._step(row)
        except (ApiError, ValidationError) as error:
            if isinstance(error, ApiError) and error.passing:
                _log.warning("specialist has to wait", reason=str(error))
                return
            # Refused or invalid: only this specialist fails.
            self._change(row, state="failed", error=str(error))
            _log.warning("specialist failed", reason=str(error)[:300])
        except Exception:
            _log.exception("specialist cannot be carried on now")

    def measure(self) -> None:
        """Set the gauge of specialists at work."""
        with self._database.reading() as session:
            active = (
                select(SpecialistRow.state, func.count())
                .where(SpecialistRow.state.in_(_ACTIVE))
                .group_by(SpecialistRow.state)
            )
            counts = dict(session.execute(active).tuples().all())
        for state in _ACTIVE:
            SPECIALISTS_NOW.labels(state).set(counts.get(state, 0))

    def _step(self, row: SpecialistRow) -> None:
        body = api.SpecialistIn.model_validate(row.body)
        platform = self._platform(row.team)
        if row.state == "training":
            job = (
                platform.training.job(row.job)
                if row.job
                else platform.training.submit(_train_job(body), f"{row.id}:train")
            )
            crashpoint("specialist.submitted")
            if job.id != row.job and not self._change(row, job=job.id):
                platform.training.cancel(job.id)  # cancelled meanwhile, not yet knowing the job
                return
            if job.state == "succeeded":
                self._change(row, state="captioning", model=job.model)
            elif job.state in ("failed", "cancelled", "stopped"):
                self._change(row, state="failed", error=f"training {job.state}: {job.error}")
            return
        layer = (
            platform.caption.job(row.layer_job)
            if row.layer_job
            else platform.caption.start_job(_layer_job(body, row.model), f"{row.id}:caption")
        )
        crashpoint("specialist.captioning")
        if layer.id != row.layer_job and not self._change(row, layer_job=layer.id):
            platform.caption.cancel_job(layer.id)
            return
        if layer.state == "sealed":
            self._change(row, state="done", layer=layer.layer)
        elif layer.state in ("failed", "cancelled"):
            self._change(row, state="failed", error=f"captioning {layer.state}: {layer.error}")

    def _change(self, row: SpecialistRow, **values: Any) -> bool:
        """Compare-and-set on the state; False if it has changed."""
        with self._database.transaction() as session:
            changed = session.execute(
                update(SpecialistRow)
                .where(SpecialistRow.id == row.id, SpecialistRow.state == row.state)
                .values(**values)
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def _row(
        self, session: Session, team: str, specialist_id: str, *, lock: bool = False
    ) -> SpecialistRow:
        row = session.get(SpecialistRow, specialist_id, with_for_update=lock or None)
        if row is None or row.team != team:
            raise NotFound(f"no specialist {specialist_id!r}", field="specialist")
        return row

    def _specialist(self, row: SpecialistRow) -> api.Specialist:
        platform = self._platform(row.team)
        progress = Progress(phase=row.state)
        if row.state == "training" and row.job:
            progress = platform.training.job(row.job).progress
        elif row.state == "captioning" and row.layer_job:
            progress = platform.caption.job(row.layer_job).progress
        return api.Specialist(
            id=row.id,
            specialist=row.body["specialist"],
            name=row.body["name"],
            state=row.state,
            model=row.model or "",
            layer=row.layer or "",
            layer_job=row.layer_job or "",
            job=row.job or "",
            error=row.error or "",
            progress=progress,
        )


def _train_job(body: api.SpecialistIn) -> JobIn:
    """Finetuning starts from the parent's weights; nothing is reset (paper, section 2.2)."""
    return JobIn(
        name=body.name,
        run=body.run,
        train=TrainIn(
            init="continue",
            model=body.parent,
            stages=[body.stage],
            seed=body.seed,
            **body.model_dump(include=set(Execution.model_fields)),
        ),
    )


def _layer_job(body: api.SpecialistIn, model: str) -> CaptionJobIn:
    return CaptionJobIn(
        name=f"{body.name} {body.specialist}",
        dataset=body.dataset.name,
        version=body.dataset.version,
        model=model,
        prompts=body.prompts,
        sampling=body.sampling,
        gate=body.gate,
        seed=body.seed,
        task=body.specialist,
        run=body.run,
    )
