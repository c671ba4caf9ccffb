"""The caption service's long-lived objects."""

from __future__ import annotations

from collections.abc import Callable

from services.caption.engines.measured import MeasuredEngines
from services.caption.jobs.caption_jobs import CaptionJobs
from services.caption.jobs.control import JobControl
from services.caption.jobs.gauges import measure
from services.caption.jobs.job_steps import SHARD_TASK
from services.caption.jobs.previews import Previews
from services.caption.jobs.quotas import ImageQuotas
from services.caption.jobs.shard import ShardCaptioner
from services.caption.serving.deployments import Deployments
from services.caption.serving.online import Direct
from services.caption.serving.rollout import Rollout
from services.caption.settings import CaptionSettings
from services.caption.tables import WorkUnitRow
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.telemetry.health_gauges import Watch
from services.chassis.telemetry.metrics import CAPTIONS
from services.chassis.web.turns import SlowRequests
from services.chassis.work.loop import Loop
from services.chassis.work.queue import Queue
from services.chassis.work.units import WorkUnits
from services.chassis.work.worker import Worker
from vila2.client import Client
from vila2.data.layers import CAPTIONED
from vila2.schemas.rest.identity import Limits


class CaptionContext:
    """Built once per process, for the service or for one of its workers.

    `limits` returns a team's limits; workers need none, since the service holds shards back.
    """

    def __init__(
        self,
        *,
        database: Database,
        objects: ObjectStore,
        queue: Queue,
        platform: Callable[[str], Client],
        settings: CaptionSettings | None = None,
        limits: Callable[[str], Limits] = lambda _: Limits(),
    ) -> None:
        self._database = database
        settings = settings or CaptionSettings()
        units = WorkUnits(database, WorkUnitRow, lease_seconds=settings.lease_seconds)
        self.units = units
        self.engines = MeasuredEngines(settings.engines(database, objects))
        self.deployments = Deployments(database, platform)
        self.rollout = Rollout(database, objects, self.engines)
        self.quotas = ImageQuotas(database, limits)
        self.jobs = CaptionJobs(
            database, objects, units, self.engines, platform, self.deployments, self.quotas
        )
        self.previews = Previews(objects, self.engines, platform, self.deployments, self.quotas)
        self.shards = ShardCaptioner(
            database, objects, units, self.engines, platform, self.jobs.steps
        )
        self.control = JobControl(database, objects, units, self.jobs)
        self.slow = SlowRequests()
        self.direct = Direct(self.engines, platform, self.deployments, self.quotas)
        CAPTIONS.labels(CAPTIONED)  # start at 0, so that the first increase is visible
        self.worker = Worker(units, queue, {SHARD_TASK: self.shards.run})
        # Adds units page by page, records results, and seals if a worker died before sealing.
        self._settler = Loop("settle-layers", self.jobs.steps.take_all, seconds=1.0)
        self.deployer = Loop("deployments", self.rollout.advance_all, seconds=1.0)
        self.watch = Watch("caption", lambda: measure(database), units=units, objects=objects)

    def start(self) -> None:
        """Start captioning, including work left by an earlier process."""
        self.worker.start()
        self._settler.start()
        self.deployer.start()
        self.watch.start()

    def start_worker(self) -> None:
        """Only run shards: the service handles layers, deployments and hints."""
        self.worker.start(relay=False)

    def check(self) -> None:
        """Raise the database's error if requests that change something would fail."""
        self._database.check()

    def stop(self) -> None:
        """Stop background work and close the database."""
        self.watch.stop()
        self.deployer.stop()
        self._settler.stop()
        self.shards.interrupt()
        self.worker.stop()
        self.engines.close()
        self._database.close()
