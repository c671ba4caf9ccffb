"""Caption jobs: caption a dataset version, one work unit per shard, into a layer.

This module starts, returns and cancels jobs. `shard` captions one shard; `job_steps` holds the
background steps.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.caption.captioning.how import check_abilities, check_present
from services.caption.engines.engine import Abilities, Engines
from services.caption.gate.requirements import check_languages
from services.caption.jobs.job_steps import JobSteps
from services.caption.jobs.kept_chunks import chunks_prefix
from services.caption.jobs.quotas import ImageQuotas
from services.caption.jobs.recipe_hash import image_size_of, recipe_hash
from services.caption.serving.deployments import Deployments
from services.caption.tables import CaptionJobRow
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Invalid, NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.chassis.web.paging import Page
from services.chassis.work.stalls import at, stall
from services.chassis.work.units import DONE, WorkUnits
from vila2.client import Client
from vila2.client.datasets import DatasetsClient
from vila2.schemas.rest import caption as api
from vila2.schemas.rest.base import Progress
from vila2.schemas.rest.datasets import LayerIn


class CaptionJobs:
    """Owns the table `caption_jobs`; calls the dataset store through its client."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        units: WorkUnits,
        engines: Engines,
        platform: Callable[[str], Client],
        deployments: Deployments,
        quotas: ImageQuotas,
    ) -> None:
        self._database, self._objects, self._units = database, objects, units
        self._engines, self._platform, self._deployments = engines, platform, deployments
        self._quotas = quotas
        self.steps = JobSteps(database, units, platform, quotas)

    def start(self, team: str, body: api.CaptionJobIn, token: str | None = None) -> api.CaptionJob:
        """Open a layer and add its first units; idempotent by `token`.

        `JobSteps.plan` adds the remaining units page by page, so the time taken here does not
        depend on the number of shards.
        """
        # The same request with another budget is the same job.
        asked = KeyedRequest.of(token, body.model_copy(update={"budget": None}))
        with self._database.reading() as session:
            known = asked.find(session, CaptionJobRow, team=team)
            if known is not None:
                return self._job(session, known)
        check_languages(body.gate)
        platform = self._platform(team)
        # A layer uses one model, even if its endpoint switches later.
        body = body.model_copy(update={"model": self._deployments.resolve(team, body.model)})
        model = platform.training.model(body.model)
        check_present(model)
        body = body.model_copy(update={"model": model.name})
        abilities = self._engines.abilities(model.object_prefix)
        check_abilities(body, abilities)
        _check_budget(body, abilities)
        version = platform.datasets.version(body.dataset, body.version)
        _check_base(platform.datasets, body, version.version)
        opened = LayerIn(
            name=body.name,
            dataset=body.dataset,
            version=version.version,
            recipe_hash=self._recipe_hash(body, model.object_prefix),
            captioner=body.model,
        )
        layer = platform.datasets.open_layer(opened, asked.part(opened))
        spent = self._quotas.spent(team)

        def found_or_made(session: Session) -> api.CaptionJob:
            # The same request may have been repeated during the calls to other services.
            known = asked.find(session, CaptionJobRow, team=team)
            if known is not None:
                return self._job(session, known)
            row = CaptionJobRow(
                id=f"captions-{uuid.uuid4().hex[:12]}",
                team=team,
                **asked.columns,
                layer=layer.id,
                body=body.model_dump(),
                model_prefix=model.object_prefix,
                version=version.version,
                samples=version.samples,
                shards=version.shards,
                planned=0,
                captioned=0,
                quarantined={},
                tokens=0,
                seconds=0.0,
                budget=body.budget,
                state="running",
            )
            session.add(row)
            session.flush()
            self.steps.add_page(session, row)
            if spent is not None:
                self.steps.hold_back(session, row, spent)
            session.flush()
            return self._job(session, row)

        return create_once(self._database, found_or_made)

    def _recipe_hash(self, body: api.CaptionJobIn, prefix: str) -> str:
        size = image_size_of(self._objects, prefix)
        return recipe_hash(body, self._engines.info(prefix), image_size=size)

    def get(self, team: str, job_id: str) -> api.CaptionJob:
        """A job and its counts."""
        with self._database.reading() as session:
            return self._job(session, job_row(session, team, job_id))

    def request(self, team: str, job_id: str) -> api.CaptionJobIn:
        """The request that started a job."""
        with self._database.reading() as session:
            return api.CaptionJobIn.model_validate(job_row(session, team, job_id).body)

    def of_team(self, team: str, page: Page) -> list[api.CaptionJob]:
        """The team's jobs, newest first."""
        with self._database.reading() as session:
            chosen = select(CaptionJobRow).where(CaptionJobRow.team == team)
            rows = page.rows(
                session, chosen, CaptionJobRow.created_at, CaptionJobRow.id, newest_first=True
            )
            return [self._job(session, row) for row in rows]

    def cancel(self, team: str, job_id: str) -> api.CaptionJob:
        """Stop a job; captioned shards stay in the open layer."""
        with self._database.transaction() as session:
            row = job_row(session, team, job_id, lock=True)
            if row.state in ("running", "paused"):
                row.state = "cancelled"
                self._units.cancel(session, job_id)
            layer, job = row.layer, self._job(session, row)
        for key in list(self._objects.keys(chunks_prefix(layer))):
            self._objects.delete(key)
        return job

    def _job(self, session: Session, row: CaptionJobRow) -> api.CaptionJob:
        """The job's recorded totals plus the shards that are running or not yet recorded."""
        under_way, captioned, quarantined = 0, row.captioned, Counter(row.quarantined)
        tokens, seconds = row.tokens, row.seconds
        for state, result, progress in self._units.in_hand(session, row.id):
            if state == DONE:
                captioned += result["captioned"]
                quarantined.update(result["quarantined"])
                # Results written before tokens were counted have none.
                tokens += result.get("tokens", 0)
                seconds += result.get("seconds", 0.0)
            else:
                under_way += progress
        waiting, wait_until = row.waiting, row.waiting_until or None
        if row.state == "running" and not waiting:
            now = self._database.time(session)
            held_up = stall(session, self._units, row.id, now=now)
            if held_up is not None:
                waiting = f"waiting until {at(held_up.until)}: {held_up.why}"
                wait_until = held_up.until
        return api.CaptionJob(
            id=row.id,
            layer=row.layer,
            name=row.body["name"],
            dataset=row.body["dataset"],
            version=row.version,
            model=row.body["model"],
            state=row.state,
            captioned=captioned,
            quarantined=dict(quarantined),
            tokens=tokens,
            seconds=round(seconds, 3),
            cost=row.cost,
            budget=row.budget,
            created_at=row.created_at,
            error=row.error or "",
            progress=Progress(
                done=min(row.samples, under_way + captioned + quarantined.total()),
                total=row.samples,
                phase=waiting or "captioning",
            ),
            waiting_until=wait_until,
        )


def job_row(session: Session, team: str, job_id: str, *, lock: bool = False) -> CaptionJobRow:
    """A team's job; raises `NotFound`. `lock` locks the row until the transaction ends."""
    row = session.get(CaptionJobRow, job_id, with_for_update=lock or None)
    if row is None or row.team != team:
        raise NotFound(f"no caption job {job_id!r}", field="job")
    return row


def _check_base(datasets: DatasetsClient, body: api.CaptionJobIn, version: int) -> None:
    """Raise `Invalid` unless keep and append have a sealed layer to start from."""
    if body.mode == "overwrite":
        return
    base = datasets.layer(body.base_layer) if body.base_layer else None
    good = base is not None and (base.dataset, base.state) == (body.dataset, "sealed")
    if base is None or not good or base.version > version:
        raise Invalid(
            f"mode {body.mode} needs a sealed layer of {body.dataset}@{version}",
            field="base_layer",
            fix="name one, or use mode overwrite",
        )
    if body.mode == "append" and base.version != version:
        raise Invalid(
            f"{body.base_layer} is a layer of {body.dataset}@{base.version}, not of @{version}",
            field="base_layer",
            fix="append to a layer of the same version, or use mode keep",
        )


def _check_budget(body: api.CaptionJobIn, abilities: Abilities) -> None:
    """Raise `Invalid` if a budget is given for a model without prices."""
    if body.budget is not None and (abilities.prices is None or not abilities.prices.any):
        raise Invalid(
            f"{body.model} has no prices, so its cost is not known",
            field="budget",
            fix="leave it out, or add the endpoint again with its prices",
        )
