"""The background steps of a caption job: add units, record results, seal the layer.

Each step handles at most one page of shards, so neither memory use nor transaction size grows with
the dataset. Steps are idempotent and can run in two processes at once: adding an existing unit
changes nothing, the first record of a shard wins, and a unit is counted once. If a process dies
between two steps, any other resumes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.caption.jobs.days import Spent
from services.caption.jobs.quotas import ImageQuotas
from services.caption.tables import CaptionJobRow, WorkUnitRow
from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.work.units import DONE, FAILED, TRACE, WorkUnits
from vila2.client import Client
from vila2.schemas.rest.datasets import LayerShard, LayerShardIn
from vila2.system.tracing import within

SHARD_TASK = "caption.shard"
PAGE = 1000  # shards
LAST_SHARD = 9_999_999  # the highest shard number that fits into a unit id
_log = structlog.get_logger()


class JobSteps:
    """Advances running jobs; `platform` returns a client that acts for a team."""

    def __init__(
        self,
        database: Database,
        units: WorkUnits,
        platform: Callable[[str], Client],
        quotas: ImageQuotas,
    ) -> None:
        self._database, self._units, self._platform = database, units, platform
        self._quotas = quotas

    def take_all(self) -> None:
        """Advance every running job as far as possible; an error in one does not block others."""
        with self._database.reading() as session:
            jobs = session.execute(
                select(
                    CaptionJobRow.id, CaptionJobRow.team, CaptionJobRow.state, CaptionJobRow.waiting
                )
                .where(CaptionJobRow.state.in_(("running", "paused")))
                .order_by(CaptionJobRow.created_at)
            ).all()
        for job_id, team, state, waiting in jobs:
            with within(self._trace(job_id)), structlog.contextvars.bound_contextvars(job=job_id):
                try:
                    if state == "paused":
                        self._hold(job_id)
                    else:
                        self._go_on(job_id, team, waiting=bool(waiting))
                except Exception:
                    _log.exception("caption job is stuck")

    def _go_on(self, job_id: str, team: str, *, waiting: bool) -> None:
        """Record finished shards, and start more if the team's daily image quota allows."""
        while self.record(job_id):
            pass
        spent = self._quotas.spent(team)
        if spent is not None:
            self._wait(job_id, spent)
            return
        if waiting:
            self._wait_no_more(job_id)
        while self.plan(job_id):
            pass
        self.settle(job_id)

    def _trace(self, job_id: str) -> str:
        """The trace context of the request that started the job, stored with its first unit."""
        with self._database.reading() as session:
            first = session.get(WorkUnitRow, unit_id(job_id, 0))
            return str(first.payload.get(TRACE, "")) if first else ""

    def plan(self, job_id: str) -> bool:
        """Add the next page of units; True if more remain."""
        with self._database.transaction() as session:
            row = session.get_one(CaptionJobRow, job_id, with_for_update=True)
            if row.state == "running":
                self.add_page(session, row)
            return row.state == "running" and row.planned < row.shards

    def add_page(self, session: Session, row: CaptionJobRow) -> None:
        """Add the next page of units in the caller's transaction, which must lock the job."""
        # A version's shards are numbered from 0 without gaps.
        end = min(row.planned + PAGE, row.shards)
        units = [
            WorkUnitRow(
                id=unit_id(row.id, shard),
                task=SHARD_TASK,
                subject=row.id,
                payload={"shard": shard},
                progress=0,
            )
            for shard in range(row.planned, end)
        ]
        self._units.add(session, units)
        row.planned = end

    def record(self, job_id: str) -> bool:
        """Record a page of captioned shards in the layer; True if more remain."""
        with self._database.reading() as session:
            row = session.get_one(CaptionJobRow, job_id)
            page = session.execute(
                select(WorkUnitRow.id, WorkUnitRow.payload, WorkUnitRow.result)
                .where(WorkUnitRow.state == DONE, WorkUnitRow.subject == job_id)
                .order_by(WorkUnitRow.not_before, WorkUnitRow.id)
                .limit(PAGE)
            ).all()
        if not page:
            return False
        self._platform(row.team).datasets.put_layer_shards(
            row.layer,
            [_of_the_layer(int(payload["shard"]), result) for _, payload, result in page],
        )
        crashpoint("caption.recorded")
        with self._database.transaction() as session:
            row = session.get_one(CaptionJobRow, job_id, with_for_update=True)
            quarantined, images = Counter(row.quarantined), 0
            for result in self._units.record(session, [unit for unit, _, _ in page]):
                row.captioned += result["captioned"]
                row.tokens += result.get("tokens", 0)
                row.seconds += result.get("seconds", 0.0)
                quarantined.update(result["quarantined"])
                images += result.get("images", 0)
            row.quarantined = dict(quarantined)
            if images:
                self._quotas.add(session, row.team, images)
        return len(page) == PAGE

    def settle(self, job_id: str) -> None:
        """If every unit of a running job has ended, record the rest and seal the layer or fail.

        Called after each shard; its cost does not depend on the number of remaining units.
        """
        with self._database.reading() as session:
            row = session.get_one(CaptionJobRow, job_id)
            if row.state != "running" or row.planned < row.shards:
                return
            if self._units.unfinished(session, job_id):
                return
        while self.record(job_id):
            pass
        if self._failed(job_id):
            return
        self._platform(row.team).datasets.seal_layer(row.layer)
        with self._database.transaction() as session:
            row = session.get_one(CaptionJobRow, job_id, with_for_update=True)
            if row.state == "running":
                row.state = "sealed"

    def hold_back(self, session: Session, row: CaptionJobRow, spent: Spent) -> None:
        """Hold back a job's waiting shards in the caller's transaction, which must lock the job."""
        row.waiting, row.waiting_until = spent.why, spent.until
        self._units.pause(session, row.id)

    def pause_for(self, job_id: str, reason: str) -> None:
        """Pause a running job; `reason` is shown until it is resumed."""
        with self._database.transaction() as session:
            row = session.get_one(CaptionJobRow, job_id, with_for_update=True)
            if row.state == "running":
                row.state, row.waiting = "paused", reason[:300]
                self._units.pause(session, job_id)

    def _wait(self, job_id: str, spent: Spent) -> None:
        """Make a job wait for its team's quota; one with no shards left to start ends."""
        with self._database.transaction() as session:
            row = session.get_one(CaptionJobRow, job_id, with_for_update=True)
            if row.state == "running":
                self.hold_back(session, row, spent)
        self.settle(job_id)

    def _wait_no_more(self, job_id: str) -> None:
        with self._database.transaction() as session:
            row = session.get_one(CaptionJobRow, job_id, with_for_update=True)
            row.waiting, row.waiting_until = "", 0.0
            if row.state == "running":
                self._units.resume(session, job_id)

    def _hold(self, job_id: str) -> None:
        """Hold back a paused job's units again: one that failed meanwhile became ready."""
        with self._database.transaction() as session:
            row = session.get_one(CaptionJobRow, job_id, with_for_update=True)
            if row.state == "paused":
                self._units.pause(session, job_id)
        while self.record(job_id):
            pass

    def _failed(self, job_id: str) -> bool:
        """Whether shards failed or the job ended otherwise; records the first shard's error."""
        with self._database.transaction() as session:
            row = session.get_one(CaptionJobRow, job_id, with_for_update=True)
            if row.state != "running":
                return True
            counts = Counter(self._units.counts(session, job_id))
            failed = counts[FAILED]
            if not failed:
                return False
            first = session.scalar(
                select(WorkUnitRow.error)
                .where(WorkUnitRow.state == FAILED, WorkUnitRow.subject == job_id)
                .order_by(WorkUnitRow.id)
                .limit(1)
            )
            row.state = "failed"
            row.error = f"{failed} of {counts.total()} shards failed: {first}"
            return True


class ShardResult(LayerShardIn):
    """The result of a unit: its part of the layer, and its usage.

    `tokens` counts generated tokens without rejected attempts, `seconds` is the time spent in the
    engine, and `images` counts the images captioned (not all of them in mode `keep`).
    """

    tokens: int
    seconds: float
    images: int


def _of_the_layer(number: int, result: Mapping[str, Any]) -> LayerShard:
    """The shard record sent to the dataset store."""
    kept = {name: result[name] for name in LayerShardIn.model_fields}
    return LayerShard(number=number, **kept)


def unit_id(job_id: str, shard: int) -> str:
    """A unit's id; within a job, ids sort by shard number."""
    return f"{job_id}-{shard:07d}"
