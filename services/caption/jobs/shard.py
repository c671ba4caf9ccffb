"""The work unit: captions one shard and commits the result as one object."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from services.caption.captioning.chunks import caption_samples
from services.caption.captioning.how import Captioning
from services.caption.engines.engine import Engines
from services.caption.jobs.base_layer import BaseLayer
from services.caption.jobs.job_budget import BudgetSpent, JobBudget
from services.caption.jobs.job_steps import JobSteps, ShardResult
from services.caption.jobs.kept_chunks import KeptChunks
from services.caption.jobs.merge import combined, to_caption
from services.caption.tables import CaptionJobRow
from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.storage.intact import intact_local, stored_shard
from services.chassis.storage.objects import ObjectStore
from services.chassis.work.units import Claim, Postponed, WorkUnits
from services.chassis.work.worker import Report
from vila2.client import Client
from vila2.client.datasets import DatasetsClient
from vila2.data.layers import CaptionRow, encode_layer_shard
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.schemas.rest import caption as api

_log = structlog.get_logger()


class Interrupted(Postponed):
    """This process is stopping. The shard resumes later from the chunks it has stored."""


class ShardCaptioner:
    """Runs the units of caption jobs; reads the dataset store through its client."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        units: WorkUnits,
        engines: Engines,
        platform: Callable[[str], Client],
        steps: JobSteps,
    ) -> None:
        self._database, self._objects, self._units = database, objects, units
        self._engines, self._platform, self._steps = engines, platform, steps
        self._ending = threading.Event()
        self._bases: dict[str, BaseLayer] = {}  # the last one used
        self._base_lock = threading.Lock()

    def interrupt(self) -> None:
        """Stop running shards at the next answer."""
        self._ending.set()

    def run(self, claim: Claim, report: Report) -> None:
        """Caption one shard and commit the result; idempotent."""
        with self._database.reading() as session:
            row = session.get_one(CaptionJobRow, claim.subject)
            session.expunge(row)
        with structlog.contextvars.bound_contextvars(run=row.body.get("run", "")):
            try:
                self._run(row, claim, report)
            except BudgetSpent as error:
                self._steps.pause_for(row.id, f"budget spent: {error}")
                raise

    def _run(self, row: CaptionJobRow, claim: Claim, report: Report) -> None:
        body = api.CaptionJobIn.model_validate(row.body)
        datasets, number = self._platform(row.team).datasets, int(claim.payload["shard"])
        # Look the shard up again: a takedown may have replaced its object.
        shard = datasets.shard(body.dataset, row.version, number)
        stored = stored_shard(
            f"{body.dataset}@{row.version}", number, shard.object_key, shard.sha256
        )
        samples = list(read_shard(intact_local(self._objects, shard.object_key, stored)))
        kept = KeptChunks(self._objects, layer=row.layer, shard=number, digest=shard.sha256)
        budget = JobBudget(
            self._database,
            row,
            prices=self._engines.abilities(row.model_prefix).prices,
            max_new_tokens=body.sampling.max_new_tokens,
        )
        try:
            made = self._caption(row, claim, samples, body, datasets, kept, budget, report)
        finally:
            budget.close()
        _log.info(
            "shard captioned", captioned=made.captioned, quarantined=made.quarantined,
            tokens=made.tokens, seconds=made.seconds,
        )  # fmt: skip
        crashpoint("caption.written")
        with self._database.transaction() as session:
            done = self._units.complete(session, claim, made.model_dump())
        if done:
            kept.clear()
            report(made.captioned + sum(made.quarantined.values()))
            self._steps.settle(claim.subject)
        else:
            self._objects.delete(made.object_key)

    def _caption(
        self,
        row: CaptionJobRow,
        claim: Claim,
        samples: list[Sample],
        body: api.CaptionJobIn,
        datasets: DatasetsClient,
        kept: KeptChunks,
        budget: JobBudget,
        report: Report,
    ) -> ShardResult:
        """Write one shard's captions as an object not yet recorded in the layer."""
        number = int(claim.payload["shard"])
        base = self._base(datasets, row, body, number, samples)
        asked = to_caption(samples, base, body.mode)
        taken_over = len(samples) - len(asked)

        def told(done: int) -> None:
            report(taken_over + done)
            if self._ending.is_set():
                raise Interrupted("the process that captioned it is ending")

        engine = self._engines.get(row.model_prefix)
        began = time.monotonic()
        made, _ = caption_samples(
            asked,
            Captioning.of(body, model=body.model),
            engine,
            progress=told,
            kept=kept,
            budget=budget,
        )
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

    def _base(
        self,
        datasets: DatasetsClient,
        row: CaptionJobRow,
        body: api.CaptionJobIn,
        shard: int,
        samples: list[Sample],
    ) -> list[CaptionRow] | None:
        if body.mode == "overwrite":
            return None
        with self._base_lock:
            name = f"{row.id}:{body.base_layer}"
            if name not in self._bases:
                layer = datasets.layer(body.base_layer)
                self._bases = {name: BaseLayer(datasets, layer, row.version)}
            return self._bases[name].rows(shard, samples)
