"""Layer jobs: caption a dataset version, one work unit per shard, into a layer.

This module starts, shows and cancels jobs and captions single shards; the background steps are in
`layer_steps`.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable

import structlog
from sqlalchemy.orm import Session

from services.caption.engines.engine import Engines
from services.caption.gate.door import check_languages
from services.caption.jobs.captioning import Captioning, caption_samples, check_scoring, preview_of
from services.caption.jobs.layer_steps import LayerSteps, ShardResult
from services.caption.jobs.merge import combined, to_caption
from services.caption.jobs.quotas import ImageQuotas
from services.caption.jobs.recipe_hash import image_size_of, recipe_hash
from services.caption.serving.deployments import Deployments
from services.caption.tables import LayerJobRow
from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Invalid, NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.chassis.work.units import DONE, Claim, WorkUnits
from services.chassis.work.worker import Report
from vila2.client import ApiError, Client
from vila2.client.datasets import DatasetsClient
from vila2.data.layers import CaptionRow, decode_layer_shard, encode_layer_shard
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.schemas.rest import caption as api
from vila2.schemas.rest.base import Progress
from vila2.schemas.rest.datasets import LayerIn, Shard

_log = structlog.get_logger()


class LayerJobs:
    """Owns the table `layer_jobs`; calls the dataset store through its client."""

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
        self.steps = LayerSteps(database, units, platform, quotas)

    def start(self, team: str, body: api.LayerJobIn, token: str | None = None) -> api.LayerJob:
        """Open a layer and add its first units; idempotent by `token`.

        `LayerSteps.plan` adds the remaining units page by page, so the time taken here does not
        depend on the number of shards.
        """
        asked = KeyedRequest.of(token, body)
        with self._database.reading() as session:
            known = asked.find(session, LayerJobRow, team=team)
            if known is not None:
                return self._job(session, known)
        check_scoring(body, self._engines)
        check_languages(body.gate)
        platform = self._platform(team)
        # A layer uses one model, even if its endpoint switches later.
        body = body.model_copy(update={"model": self._deployments.resolve(team, body.model)})
        model = platform.training.model(body.model)
        version = platform.datasets.version(body.dataset, body.version)
        _check_base(platform.datasets, body, version.version)
        size = image_size_of(self._objects, model.object_prefix)
        opened = LayerIn(
            name=body.name,
            dataset=body.dataset,
            version=version.version,
            recipe_hash=recipe_hash(body, self._engines.info(), image_size=size),
            captioner=body.model,
        )
        layer = platform.datasets.open_layer(opened, asked.part(opened))
        spent = self._quotas.spent(team)

        def found_or_made(session: Session) -> api.LayerJob:
            # The same request may have been repeated during the calls to other services.
            known = asked.find(session, LayerJobRow, team=team)
            if known is not None:
                return self._job(session, known)
            row = LayerJobRow(
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

    def get(self, team: str, job_id: str) -> api.LayerJob:
        """A job and its counts."""
        with self._database.reading() as session:
            return self._job(session, job_row(session, team, job_id))

    def cancel(self, team: str, job_id: str) -> api.LayerJob:
        """Stop a job; captioned shards stay in the open layer."""
        with self._database.transaction() as session:
            row = job_row(session, team, job_id, lock=True)
            if row.state in ("running", "paused"):
                row.state = "cancelled"
                self._units.cancel(session, job_id)
            return self._job(session, row)

    def run_shard(self, claim: Claim, report: Report) -> None:
        """Caption one shard and commit the result; idempotent."""
        with self._database.reading() as session:
            row = session.get_one(LayerJobRow, claim.subject)
        with structlog.contextvars.bound_contextvars(run=row.body.get("run", "")):
            self._run_shard(row, claim, report)

    def _run_shard(self, row: LayerJobRow, claim: Claim, report: Report) -> None:
        made = self._caption(row, claim, report)
        _log.info(
            "shard captioned", captioned=made.captioned, quarantined=made.quarantined,
            tokens=made.tokens, seconds=made.seconds,
        )  # fmt: skip
        crashpoint("caption.written")
        with self._database.transaction() as session:
            done = self._units.complete(session, claim, made.model_dump())
        if done:
            report(made.captioned + sum(made.quarantined.values()))
            self.steps.settle(claim.subject)
        else:
            self._objects.delete(made.object_key)

    def _caption(self, row: LayerJobRow, claim: Claim, report: Report) -> ShardResult:
        """Write one shard's captions as an object not yet recorded in the layer."""
        body = api.LayerJobIn.model_validate(row.body)
        datasets, number = self._platform(row.team).datasets, int(claim.payload["shard"])
        # Look the shard up again: a takedown may have replaced its object.
        shard = datasets.shard(body.dataset, row.version, number)
        samples = list(read_shard(self._objects.local(shard.object_key)))
        base = self._base(datasets, body, number)
        asked = to_caption(samples, base, body.mode)
        engine = self._engines.get(row.model_prefix)
        began = time.monotonic()
        made = caption_samples(asked, _captioning(body), engine, progress=report)
        seconds = round(time.monotonic() - began, 3)
        data, summary = encode_layer_shard(combined(samples, base, made, body.mode))
        # The key includes the fence, so a worker that lost its lease cannot overwrite newer output.
        key = f"layers/{row.layer}/{number:06d}-{claim.fence}.parquet"
        self._objects.put(key, data)
        return ShardResult(
            object_key=key,
            sha256=summary.sha256,
            captioned=summary.captioned,
            quarantined=dict(summary.quarantined),
            tokens=sum(caption.tokens for caption in made),
            seconds=seconds,
            images=len(asked),
        )

    def preview(self, team: str, body: api.PreviewIn) -> api.Preview:
        """Caption a few samples through the same code path as a layer job."""
        check_scoring(body, self._engines)
        check_languages(body.gate)
        platform = self._platform(team)
        body = body.model_copy(update={"model": self._deployments.resolve(team, body.model)})
        datasets, model = platform.datasets, platform.training.model(body.model)
        wanted = set(body.keys)
        found: dict[str, Sample] = {}
        for shard in _shards(datasets, body):
            for sample in read_shard(self._objects.local(shard.object_key)):
                if sample.key in wanted:
                    found[sample.key] = sample
            if len(found) == len(wanted):
                break
        missing = wanted - set(found)
        if missing:
            raise Invalid(
                f"dataset {body.dataset} has no sample {sorted(missing)[0]!r}", field="keys"
            )
        how = _captioning(body)
        engine = self._engines.get(model.object_prefix)
        self._quotas.admit(team, len(body.keys))
        rows = caption_samples([found[key] for key in body.keys], how, engine)
        return preview_of(rows)

    def _base(
        self, datasets: DatasetsClient, body: api.LayerJobIn, shard: int
    ) -> list[CaptionRow] | None:
        if body.mode == "overwrite":
            return None
        return decode_layer_shard(datasets.layer_content(body.base_layer, shard))

    def _job(self, session: Session, row: LayerJobRow) -> api.LayerJob:
        """The job's recorded totals plus the shards that are running or not yet recorded."""
        under_way, captioned, quarantined = 0, row.captioned, Counter(row.quarantined)
        tokens, seconds = row.tokens, row.seconds
        for state, result, progress in self._units.in_hand(session, row.id):
            if state == DONE:
                captioned += result["captioned"]
                quarantined.update(result["quarantined"])
                tokens += result.get(
                    "tokens", 0
                )  # absent from results written before tokens were counted
                seconds += result.get("seconds", 0.0)
            else:
                under_way += progress
        return api.LayerJob(
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
            error=row.error or "",
            progress=Progress(
                done=min(row.samples, under_way + captioned + quarantined.total()),
                total=row.samples,
                phase=row.waiting or "captioning",
            ),
            waiting_until=row.waiting_until or None,
        )


def job_row(session: Session, team: str, job_id: str, *, lock: bool = False) -> LayerJobRow:
    """A team's job; raises `NotFound`. `lock` locks the row until the transaction ends."""
    row = session.get(LayerJobRow, job_id, with_for_update=lock or None)
    if row is None or row.team != team:
        raise NotFound(f"no caption job {job_id!r}", field="job")
    return row


def _check_base(datasets: DatasetsClient, body: api.LayerJobIn, version: int) -> None:
    """Raise `Invalid` unless keep and append have a sealed layer to start from."""
    if body.mode == "overwrite":
        return
    base = datasets.layer(body.base_layer) if body.base_layer else None
    if base is None or (base.dataset, base.version, base.state) != (
        body.dataset, version, "sealed",
    ):  # fmt: skip
        raise Invalid(
            f"mode {body.mode} needs a sealed layer of {body.dataset}@{version}",
            field="base_layer",
            fix="name one, or use mode overwrite",
        )


def _shards(datasets: DatasetsClient, body: api.PreviewIn) -> Iterable[Shard]:
    """The shards from which a preview takes its samples."""
    if body.shard is None:
        return datasets.each_shard(body.dataset, body.version)
    try:
        return [datasets.shard(body.dataset, body.version, body.shard)]
    except ApiError as error:
        if error.problem.field != "index":
            raise
        raise Invalid(str(error), field="shard", fix="give one that the version has") from error


def _captioning(body: api.LayerJobIn | api.PreviewIn) -> Captioning:
    return Captioning.of(body, model=body.model)
