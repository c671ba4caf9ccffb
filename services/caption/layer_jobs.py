"""Layer jobs: a dataset version becomes units, the units become a layer, the layer is sealed."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.caption.captioning import Captioning, caption_samples, check_scoring, preview_of
from services.caption.deployments import Deployments
from services.caption.engine import Engines
from services.caption.modes import combined, to_caption
from services.caption.tables import LayerJobRow, WorkUnitRow
from services.chassis.crashpoint import crashpoint
from services.chassis.database import Database, exclusively
from services.chassis.errors import Invalid, NotFound
from services.chassis.objects import ObjectStore
from services.chassis.work import CANCELLED, DONE, FAILED, Claim, WorkUnits
from services.chassis.worker import Report
from vila2.api import caption as api
from vila2.api.base import Progress
from vila2.api.datasets import LayerIn, LayerShardIn, Shard
from vila2.client import Client
from vila2.data.layers import CaptionRow, decode_layer_shard, encode_layer_shard
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.datasets_client import DatasetsClient

SHARD_TASK = "caption.shard"


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
    ) -> None:
        self._database, self._objects, self._units = database, objects, units
        self._engines, self._platform, self._deployments = engines, platform, deployments

    def start(self, team: str, body: api.LayerJobIn) -> api.LayerJob:
        """Open a layer and add a unit per shard; a known token returns its job."""
        token = body.token or uuid.uuid4().hex
        with self._database.transaction() as session:
            known = _known(session, team, token)
            if known is not None:
                return self._job(session, known)
        check_scoring(body, self._engines)
        platform = self._platform(team)
        # A layer is of one model, whatever its endpoint answers with later.
        body = body.model_copy(update={"model": self._deployments.resolve(team, body.model)})
        model = platform.training.model(body.model)
        version = platform.datasets.version(body.dataset, body.version)
        shards = platform.datasets.shards(body.dataset, version.version)
        _check_base(platform.datasets, body, version.version)
        layer = platform.datasets.open_layer(
            LayerIn(
                name=body.name,
                dataset=body.dataset,
                version=version.version,
                recipe_hash=_recipe_hash(body),
                captioner=body.model,
                token=f"caption:{token}",
            )
        )
        job_id = f"captions-{uuid.uuid4().hex[:12]}"
        with self._database.transaction() as session:
            # The same request may have come in again while the others were being asked.
            exclusively(session, f"token:{team}:{token}")
            known = _known(session, team, token)
            if known is not None:
                return self._job(session, known)
            row = LayerJobRow(
                id=job_id,
                team=team,
                token=token,
                layer=layer.id,
                body=body.model_dump(),
                model_prefix=model.object_prefix,
                version=version.version,
                samples=version.samples,
                state="running",
            )
            session.add(row)
            self._units.add(
                session,
                [
                    WorkUnitRow(
                        id=f"{job_id}-{shard.index:06d}",
                        task=SHARD_TASK,
                        subject=job_id,
                        payload={"shard": shard.index},
                        progress=0,
                    )
                    for shard in shards
                ],
            )
            session.flush()
            return self._job(session, row)

    def get(self, team: str, job_id: str) -> api.LayerJob:
        """A job and its counts."""
        with self._database.transaction() as session:
            return self._job(session, job_row(session, team, job_id))

    def cancel(self, team: str, job_id: str) -> api.LayerJob:
        """Stop a job; what is captioned stays in the open layer."""
        with self._database.transaction() as session:
            row = job_row(session, team, job_id, lock=True)
            if row.state in ("running", "paused"):
                row.state = "cancelled"
                self._units.cancel(session, job_id)
            return self._job(session, row)

    def run_shard(self, claim: Claim, report: Report) -> None:
        """Caption one shard and record it in the layer; safe to run twice."""
        with self._database.transaction() as session:
            row = session.get_one(LayerJobRow, claim.subject)
        how = _captioning(api.LayerJobIn.model_validate(row.body))
        datasets, number = self._platform(row.team).datasets, int(claim.payload["shard"])
        # Asked for afresh: a take-down may have put another object in its place.
        shard = datasets.shard(row.body["dataset"], row.version, number)
        samples = list(read_shard(self._objects.local(shard.object_key)))
        body = api.LayerJobIn.model_validate(row.body)
        base = self._base(datasets, body, number)
        asked = to_caption(samples, base, body.mode)
        engine = self._engines.get(row.model_prefix)
        began = time.monotonic()
        made = caption_samples(asked, how, engine, progress=report)
        seconds = time.monotonic() - began
        rows = combined(samples, base, made, body.mode)
        data, summary = encode_layer_shard(rows)
        # The fence in the key: a worker that lost its lease cannot overwrite another's output.
        key = f"layers/{row.layer}/{number:06d}-{claim.fence}.parquet"
        self._objects.put(key, data)
        crashpoint("caption.written")
        with self._database.transaction() as session:
            done = self._units.complete(
                session,
                claim,
                {
                    "object_key": key,
                    "sha256": summary.sha256,
                    "captioned": summary.captioned,
                    "quarantined": dict(summary.quarantined),
                    "tokens": sum(caption.tokens for caption in made),
                    "seconds": round(seconds, 3),
                },
            )
        if done:
            report(len(rows))
            self.settle(claim.subject)
        else:
            self._objects.delete(key)

    def settle_all(self) -> None:
        """Seal or fail every running job whose units have all ended; hold those of paused jobs."""
        with self._database.transaction() as session:
            for paused in session.scalars(
                select(LayerJobRow.id).where(LayerJobRow.state == "paused")
            ).all():
                # A unit that failed in the middle came back as ready.
                self._units.pause(session, paused)
            running = session.scalars(
                select(LayerJobRow.id).where(LayerJobRow.state == "running")
            ).all()
        for job_id in running:
            self.settle(job_id)

    def settle(self, job_id: str) -> None:
        """If all units of a job have ended, record them in the layer and seal it."""
        with self._database.transaction() as session:
            row = session.get_one(LayerJobRow, job_id)
            counts = self._units.counts(session, job_id)
            units = session.scalars(
                select(WorkUnitRow).where(WorkUnitRow.subject == job_id).order_by(WorkUnitRow.id)
            ).all()
        if row.state != "running" or sum(counts.get(s, 0) for s in _ENDED) < len(units):
            return
        failed = [unit for unit in units if unit.state == FAILED]
        if failed:
            with self._database.transaction() as session:
                held = session.get_one(LayerJobRow, job_id, with_for_update=True)
                if held.state != "running":
                    return
                held.state = "failed"
                held.error = f"{len(failed)} of {len(units)} shards failed: {failed[0].error}"
            return
        datasets = self._platform(row.team).datasets
        for unit in units:
            datasets.put_layer_shard(
                row.layer,
                int(unit.payload["shard"]),
                LayerShardIn(**{name: unit.result[name] for name in LayerShardIn.model_fields}),
            )
        crashpoint("caption.recorded")
        datasets.seal_layer(row.layer)
        with self._database.transaction() as session:
            held = session.get_one(LayerJobRow, job_id, with_for_update=True)
            if held.state == "running":
                held.state = "sealed"

    def preview(self, team: str, body: api.PreviewIn) -> api.Preview:
        """Caption a few samples by exactly the batch's path."""
        check_scoring(body, self._engines)
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
        rows = caption_samples([found[key] for key in body.keys], how, engine)
        return preview_of(rows)

    def _base(
        self, datasets: DatasetsClient, body: api.LayerJobIn, shard: int
    ) -> list[CaptionRow] | None:
        if body.mode == "overwrite":
            return None
        return decode_layer_shard(datasets.layer_content(body.base_layer, shard))

    def _job(self, session: Session, row: LayerJobRow) -> api.LayerJob:
        units = session.scalars(select(WorkUnitRow).where(WorkUnitRow.subject == row.id)).all()
        done, captioned, quarantined = 0, 0, Counter[str]()
        tokens, seconds = 0, 0.0
        for unit in units:
            if unit.state == DONE:
                captioned += unit.result["captioned"]
                # Units that were done before these were counted have none.
                tokens += unit.result.get("tokens", 0)
                seconds += unit.result.get("seconds", 0.0)
                quarantined.update(unit.result["quarantined"])
            else:
                done += unit.progress or 0
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
                done=min(row.samples, done + captioned + quarantined.total()),
                total=row.samples,
                phase="captioning",
            ),
        )


_ENDED = (DONE, FAILED, CANCELLED)


def job_row(session: Session, team: str, job_id: str, *, lock: bool = False) -> LayerJobRow:
    """A team's job, or `NotFound`; with `lock` nobody else changes it meanwhile."""
    row = session.get(LayerJobRow, job_id, with_for_update=lock or None)
    if row is None or row.team != team:
        raise NotFound(f"no caption job {job_id!r}", field="job")
    return row


def _known(session: Session, team: str, token: str) -> LayerJobRow | None:
    return session.scalar(
        select(LayerJobRow).where(LayerJobRow.team == team, LayerJobRow.token == token)
    )


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


def _shards(datasets: DatasetsClient, body: api.PreviewIn) -> list[Shard]:
    """Where a preview looks for its samples."""
    if body.shard is None:
        return datasets.shards(body.dataset, body.version)
    try:
        return [datasets.shard(body.dataset, body.version, body.shard)]
    except LookupError as error:
        raise Invalid(str(error), field="shard", fix="give one that the version has") from error


def _recipe_hash(body: api.LayerJobIn) -> str:
    """What decides the captions; a layer that starts from another is decided by that as well."""
    by_model = _captioning(body).recipe_hash()
    if body.mode == "overwrite":
        return by_model
    text = f"{by_model}:{body.mode}:{body.base_layer}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _captioning(body: api.LayerJobIn | api.PreviewIn) -> Captioning:
    return Captioning.of(body, model=body.model)
