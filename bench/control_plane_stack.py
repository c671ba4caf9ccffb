"""Assembles the control plane that `control_plane.py` measures, on one database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import psutil
import yaml
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import insert, select, text, update

import services.caption.app as caption_app
import services.controller.app as controller_app
import services.datasets.app as datasets_app
from services.caption.context import CaptionContext
from services.caption.jobs.job_steps import unit_id
from services.caption.migrations import MIGRATIONS as CAPTION
from services.caption.settings import CaptionSettings
from services.caption.tables import Base as CaptionBase
from services.caption.tables import CaptionJobRow, WorkUnitRow
from services.chassis.storage.settings import StorageSettings
from services.chassis.storage.sources import sources_of
from services.chassis.web.asgi import AppThread, InProcessTransport
from services.chassis.work.queue_inprocess import InProcessQueue
from services.chassis.work.units import DONE, LEASED, READY
from services.controller.context import ControllerContext
from services.controller.migrations import MIGRATIONS as CONTROLLER
from services.controller.tables import Base as ControllerBase
from services.datasets.context import DatasetsContext
from services.datasets.migrations import MIGRATIONS as DATASETS
from services.datasets.tables import Base as DatasetsBase
from services.datasets.tables import DatasetRow, ShardRow, VersionRow
from services.identity.require_scope import ACT_AS, ALL_SCOPES
from services.identity.settings import IdentitySettings
from tests.support.servers.platform_http import served
from vila2.client import Client
from vila2.client.http import TIMEOUT
from vila2.recipes.recipe import recipe_text
from vila2.schemas.rest.base import Progress
from vila2.schemas.rest.controller import RunIn
from vila2.schemas.rest.datasets import LayerShardIn
from vila2.schemas.rest.training import Job, JobIn, RegisteredModel

TEAM = "bench"
SAMPLES = 1000  # images a shard
WORKER = Path(__file__).with_name("control_plane_worker.py")


class FakeTraining:
    """A training service whose jobs finish at once, except those of round 1, which never finish."""

    def model(self, name: str) -> RegisteredModel:
        """Any model is known."""
        return RegisteredModel(name=name, sha256="0" * 64, parent="", job="", parameters=1, data=[],
                               object_prefix=f"models/{name}")  # fmt: skip

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def submit(self, body: JobIn, token: str) -> Job:
        """Return the job in its final state."""
        ended = ":round_1:" not in token
        job = Job(
            id=f"job-{token}"[:40], name=body.name, kind="train" if body.train else "evaluate",
            state="succeeded" if ended else "running", attempt=1, model="model-1",
            result={"scores": []}, progress=Progress(),
        )  # fmt: skip
        self._jobs[job.id] = job
        return job

    def job(self, job: str) -> Job:
        """A job that was submitted."""
        return self._jobs[job]

    def artifact(self, job: str, name: str) -> str:
        """An evaluation's outcomes: of no items."""
        return ""


class Stack:
    """The real dataset, caption and controller services on one database and one broker.

    Their loops do not run: the benchmark calls each step itself in order to time it. `client`
    is what a user holds, in process; workers reach the same apps over HTTP at `address`.
    """

    def __init__(self, folder: Path, *, database_url: str, broker_url: str) -> None:
        self.folder, self.database_url, self.broker_url = folder, database_url, broker_url
        storage = StorageSettings(database_url=SecretStr(database_url))
        self.objects = storage.objects(folder, sources_of(folder))
        self._identity = IdentitySettings().open(folder, storage)
        self.key = self._identity.keys.issue(team=TEAM, scopes=(*ALL_SCOPES, ACT_AS))
        self._thread = AppThread()
        self._thread._thread.start()  # the apps without their lifespans
        self.apps: dict[str, FastAPI] = {}
        self.client = Client(
            lambda service: httpx2.Client(
                base_url=f"http://{service}/", timeout=TIMEOUT,
                headers={"authorization": f"Bearer {self.key}"},
                transport=_InProcess(self, service),
            )
        )  # fmt: skip
        self.client.training = FakeTraining()  # type: ignore[assignment]
        self.datasets = DatasetsContext(
            database=storage.database(folder, DatasetsBase.metadata, DATASETS),
            objects=self.objects, queue=InProcessQueue(), platform=lambda _: self.client,
            sources=sources_of(folder), spool=folder / "spool",
        )  # fmt: skip
        settings = CaptionSettings(broker_url=SecretStr(broker_url))
        self.queue = settings.queue(workers=0)
        self.caption = CaptionContext(
            database=storage.database(folder, CaptionBase.metadata, CAPTION),
            objects=self.objects, queue=self.queue, platform=lambda _: self.client,
            settings=settings,
        )  # fmt: skip
        self.controller = ControllerContext(
            database=storage.database(folder, ControllerBase.metadata, CONTROLLER),
            platform=lambda _: self.client,
        )
        self.apps["datasets"] = datasets_app.create_app(self.datasets, identity=self._identity)
        self.apps["caption"] = caption_app.create_app(self.caption, identity=self._identity)
        self.apps["controller"] = controller_app.create_app(
            self.controller, identity=self._identity
        )

    def transport(self, service: str) -> InProcessTransport:
        """A client transport into one of the apps; faked services have none."""
        return InProcessTransport(self.apps[service], self._thread)

    def fill(self, units: int) -> None:
        """Create the recipe's datasets as rows: `units` shards in the corpus, one in each other."""
        for name in ("scenes-base", "scenes-corpus", "scenes-sft", "scenes-test"):
            count = units if name == "scenes-corpus" else 1
            with self.datasets.database.transaction() as session:
                dataset = DatasetRow(team=TEAM, name=name, kind="pairs", latest=1)
                session.add(dataset)
                session.flush()
                version = VersionRow(
                    dataset_id=dataset.id, number=1, shard_samples=SAMPLES, state="ready",
                    shards=count, samples=count * SAMPLES, sha256="0" * 64,
                )  # fmt: skip
                session.add(version)
                session.flush()
            for first in range(0, count, 10_000):
                rows = [
                    {
                        "version_id": version.id, "number": n, "sha256": f"{n:064x}",
                        "object_key": f"shards/{n % 256:02x}/{n:06d}-{n:064x}.tar",
                        "index_key": f"indexes/1/{n:06d}-{n:016x}.parquet",
                        "bytes": 50_000_000, "samples": SAMPLES,
                    }
                    for n in range(first, min(first + 10_000, count))
                ]  # fmt: skip
                with self.datasets.database.transaction() as session:
                    session.execute(insert(ShardRow), rows)

    def start_runs(self, first: int, last: int) -> str:
        """Start runs through the API and reconcile until all caption. Returns the last job."""
        recipe = yaml.safe_load(recipe_text("tiny"))
        recipe |= {"controls": [], "specialists": [], "specialist_data_in_sft": False}
        recipe["rounds"]["maximum"] = 1
        for number in range(first, last):
            self.client.controller.start_run(
                RunIn(name=f"run {number}", recipe=recipe), f"run-{number}"
            )
        for _ in range(30):
            self.controller.reconciler.tick()
            with self.caption._database.reading() as session:
                jobs = session.scalars(select(CaptionJobRow.id).order_by(CaptionJobRow.created_at))
                held = list(jobs)
            if len(held) == last:
                return held[-1]
        raise RuntimeError("the runs do not get as far as captioning")

    def ended(self, job: str) -> bool:
        """Whether every unit of a job has ended."""
        with self.caption._database.reading() as session:
            return not self.caption.units.unfinished(session, job)

    def done(self, job: str, shard: int) -> bool:
        """Whether a shard's unit is done; hints are sent in shard order."""
        with self.caption._database.reading() as session:
            return session.get_one(WorkUnitRow, unit_id(job, shard)).state == DONE

    def skip(self, job: str, first: int, last: int) -> None:
        """Mark the unclaimed units of shards `first` to `last` (exclusive) as done."""
        layer = self.client.caption.job(job).layer
        for start in range(first, last, 1000):
            end = min(start + 1000, last) - 1
            with self.caption._database.transaction() as session:
                session.execute(
                    update(WorkUnitRow)
                    .where(
                        WorkUnitRow.id.between(unit_id(job, start), unit_id(job, end)),
                        WorkUnitRow.state.in_((READY, LEASED)),
                    )
                    .values(state=DONE, fence=1, attempts=1, result=captioned(layer).model_dump())
                )

    def bytes_per_unit(self, units: int) -> dict[str, float]:
        """Bytes per unit of the tables of units, shards and layer shards, with their indexes."""
        sizes = {}
        for context, table in (
            (self.caption._database, "work_units"),
            (self.datasets.database, "shards"),
            (self.datasets.database, "layer_shards"),
        ):
            with context.transaction() as session:
                if session.get_bind().dialect.name == "postgresql":
                    query = text("SELECT pg_total_relation_size(CAST(:name AS regclass))")
                    found = session.scalar(query, {"name": table})
                else:
                    query = text("SELECT sum(pgsize) FROM dbstat WHERE name IN (SELECT name FROM "
                                 "sqlite_master WHERE tbl_name = :name)")  # fmt: skip
                    found = session.scalar(query, {"name": table})
            sizes[table] = round((found or 0) / units, 1)
        return sizes

    @contextmanager
    def workers(self, count: int, threads: int) -> Iterator[list[int]]:
        """Start worker processes; on exit the list contains their peak memory in MiB."""
        peaks: list[int] = []
        command = [
            sys.executable, str(WORKER), "--database", self.database_url, "--broker",
            self.broker_url, "--folder", str(self.folder), "--threads", str(threads),
        ]  # fmt: skip
        with ExitStack() as stack:
            address = stack.enter_context(served(self))  # type: ignore[arg-type]
            command += ["--platform", address, "--key", self.key]
            children = []
            for _ in range(count):
                child = subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
                stack.callback(child.kill)
                children.append(child)
            for child in children:
                assert child.stdout is not None
                if child.stdout.readline().strip() != "ready":
                    raise RuntimeError("a worker did not start")
            yield peaks
            for child in children:
                out, _ = child.communicate("end\n", timeout=60)
                peaks.append(int(out.split()[-1]))

    def close(self) -> None:
        """Stop the services and close the database."""
        for database in (self.caption._database, self.datasets.database):
            database.close()
        self.controller.stop()
        self._thread.stop()


class _InProcess(httpx2.BaseTransport):
    """Finds its app when it is first used, since clients are made before the apps they call."""

    def __init__(self, stack: Stack, service: str) -> None:
        self._stack, self._service = stack, service
        self._transport: InProcessTransport | None = None

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._transport is None:
            self._transport = self._stack.transport(self._service)
        return self._transport.handle_request(request)


def captioned(layer: str) -> LayerShardIn:
    """The result that a worker of this benchmark commits; all shards refer to one object."""
    return LayerShardIn(
        object_key=f"layers/{layer}/shared.parquet",
        sha256="0" * 64,
        captioned=SAMPLES - 1,
        quarantined={"repetition": 1},
    )


def peak_mib() -> int:
    """This process's largest resident size, MiB, since `forget_peak`, or ever."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def forget_peak() -> None:
    """Reset the peak resident size (Linux: proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")


def cpu_seconds() -> float:
    """CPU seconds so far of all processes measured: services, workers, broker and database."""
    taken = 0.0
    for process in psutil.Process(os.getppid()).children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        taken += times.user + times.system
    return taken


def median_ms(what: Callable[[], object], times: int = 15) -> float:
    """Median of `times` calls in milliseconds, after one warm-up call."""
    what()
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        what()
        taken.append((time.perf_counter() - began) * 1000)
    return round(sorted(taken)[times // 2], 2)
