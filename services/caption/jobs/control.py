"""User control of running caption jobs: pause, resume, retry, list failures."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.caption.jobs.caption_jobs import CaptionJobs, job_row
from services.caption.jobs.job_steps import LAST_SHARD, unit_id
from services.caption.tables import CaptionJobRow, WorkUnitRow
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Conflict, Invalid
from services.chassis.work.units import DONE, FAILED, RECORDED, WorkUnits
from vila2.data.layers import QUARANTINED, decode_layer_shard
from vila2.schemas.rest import caption as api

# Limits per response: quarantined samples, and shards searched.
_SAMPLES, _SHARDS = 200, 5000


class JobControl:
    """Changes the state of jobs and their units; the work itself is `CaptionJobs`."""

    def __init__(
        self, database: Database, objects: ObjectStore, units: WorkUnits, jobs: CaptionJobs
    ) -> None:
        self._database, self._objects, self._units, self._jobs = database, objects, units, jobs

    def pause(self, team: str, job_id: str) -> api.CaptionJob:
        """Start no further shards; running ones finish."""
        with self._database.transaction() as session:
            row = _moved(session, team, job_id, ("running",), "paused")
            self._units.pause(session, row.id)
        return self._jobs.get(team, job_id)

    def resume(self, team: str, job_id: str, budget: float | None = None) -> api.CaptionJob:
        """Resume the waiting shards, with a new budget if one is given."""
        with self._database.transaction() as session:
            row = _moved(session, team, job_id, ("paused",), "running")
            if budget is not None:
                if budget <= row.cost:
                    raise Invalid(
                        f"{row.cost:.4g} is spent already",
                        field="budget",
                        fix="give more than that in all",
                    )
                # Cost reserved by a killed worker is assumed not to have been charged.
                row.budget, row.reserved = budget, 0.0
            # A job waiting for its team's quota resumes when the quota allows.
            if not row.waiting_until:
                row.waiting = ""
                self._units.resume(session, row.id)
        self._jobs.steps.settle(job_id)
        return self._jobs.get(team, job_id)

    def retry_failed(self, team: str, job_id: str) -> api.CaptionJob:
        """Reset the attempts of the failed shards."""
        with self._database.transaction() as session:
            row = _moved(session, team, job_id, ("failed",), "running")
            row.error = ""
            self._units.retry(session, row.id)
        return self._jobs.get(team, job_id)

    def failures(self, team: str, job_id: str, *, reason: str, first: int) -> api.Failures:
        """Failed shards and quarantined samples, both starting at shard `first`.

        A response covers a limited number of shards; `next` is where to continue.
        """
        with self._database.reading() as session:
            row = job_row(session, team, job_id)
            units = (
                session.execute(
                    select(WorkUnitRow)
                    .where(
                        WorkUnitRow.subject == row.id,
                        WorkUnitRow.id.between(unit_id(row.id, first), unit_id(row.id, LAST_SHARD)),
                    )
                    .order_by(WorkUnitRow.id)
                    .limit(_SHARDS + 1)
                )
                .scalars()
                .all()
            )
        shards: list[api.FailedShard] = []
        samples: list[api.QuarantinedSample] = []
        for seen, unit in enumerate(units):
            shard = int(unit.payload["shard"])
            if seen == _SHARDS or len(samples) >= _SAMPLES:
                return api.Failures(shards=shards, samples=samples, next=shard)
            if unit.state == FAILED:
                shards.append(
                    api.FailedShard(shard=shard, attempts=unit.attempts, error=unit.error)
                )
            elif unit.state in (DONE, RECORDED) and unit.result.get("quarantined"):
                samples += self._quarantined(shard, unit.result["object_key"], reason)
        return api.Failures(shards=shards, samples=samples, next=None)

    def _quarantined(self, shard: int, key: str, reason: str) -> list[api.QuarantinedSample]:
        try:
            rows = decode_layer_shard(self._objects.get(key))
        except KeyError:
            return []  # a takedown has replaced the object
        return [
            api.QuarantinedSample(
                key=row.key,
                shard=shard,
                reason=row.reason,
                attempts=row.attempt + 1,
                prompt=row.prompt,
                text=row.caption,
            )
            for row in rows
            if row.status == QUARANTINED and reason in ("", row.reason)
        ]


def _moved(
    session: Session, team: str, job_id: str, states: tuple[str, ...], to: str
) -> CaptionJobRow:
    row = job_row(session, team, job_id, lock=True)
    if row.state in states:
        row.state = to
    elif row.state != to:
        raise Conflict(
            f"job {job_id} is {row.state}, not {' or '.join(states)}",
            field="job",
            fix="look at its state first",
        )
    return row
