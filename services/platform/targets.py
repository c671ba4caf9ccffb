"""The five services by name, and functions to build them: the choices of `--target`."""

from __future__ import annotations

from collections.abc import Callable

from fastapi import FastAPI

import services.caption.app as caption_app
import services.controller.app as controller_app
import services.datasets.app as datasets_app
import services.specialist.app as specialist_app
import services.training.app as training_app
from services.caption.context import CaptionContext
from services.caption.migrations import MIGRATIONS as CAPTION
from services.caption.tables import Base as CaptionBase
from services.chassis.work.queue_inprocess import InProcessQueue
from services.controller.context import ControllerContext
from services.controller.migrations import MIGRATIONS as CONTROLLER
from services.controller.runs.event_relay import RedisSink
from services.controller.tables import Base as ControllerBase
from services.datasets.context import DatasetsContext
from services.datasets.migrations import MIGRATIONS as DATASETS
from services.datasets.settings import DatasetsSettings
from services.datasets.tables import Base as DatasetsBase
from services.platform.wiring import Seams
from services.specialist.context import SpecialistContext
from services.specialist.migrations import MIGRATIONS as SPECIALIST
from services.specialist.tables import Base as SpecialistBase
from services.training.context import TrainingContext
from services.training.migrations import MIGRATIONS as TRAINING
from services.training.tables import Base as TrainingBase


def _datasets(seams: Seams) -> FastAPI:
    settings = DatasetsSettings()
    context = DatasetsContext(
        database=seams.database(DatasetsBase, DATASETS),
        objects=seams.objects,
        queue=InProcessQueue(name="ingest", workers=settings.ingest_workers),
        settings=settings,
        platform=seams.platform,
        sources=seams.sources,
        spool=seams.workspace / "spool",
        fetching=seams.fetching,
        limits=seams.identity.directory.limits,
    )
    if seams.alone:
        context.units.release_all()
    return datasets_app.create_app(context, identity=seams.identity)


def _training(seams: Seams) -> FastAPI:
    context = TrainingContext(
        database=seams.database(TrainingBase, TRAINING),
        objects=seams.objects,
        backend=seams.training.backend(seams.workspace),
        platform=seams.platform,
        sources=seams.sources,
        root=seams.workspace / "training",
        slots=seams.slots,
        accelerator=seams.training.training_accelerator,
        max_cpus=seams.training.max_cpus,
        interrupt_on_stop=not seams.training.jobs_outlive_the_service,
    )
    if seams.alone:
        context.claims.release_all()
        context.model_imports.release_all()
    return training_app.create_app(context, identity=seams.identity)


def _caption(seams: Seams) -> FastAPI:
    context = CaptionContext(
        database=seams.database(CaptionBase, CAPTION),
        objects=seams.objects,
        # With a broker, separate workers caption the shards; this process only publishes hints.
        queue=seams.captioning.queue(workers=seams.captioning.local_workers),
        platform=seams.platform,
        settings=seams.captioning,
        limits=seams.identity.directory.limits,
    )
    if seams.alone and not seams.captioning.workers_apart:
        context.units.release_all()
    return caption_app.create_app(context, identity=seams.identity)


def _specialist(seams: Seams) -> FastAPI:
    database = seams.database(SpecialistBase, SPECIALIST)
    context = SpecialistContext(database=database, platform=seams.platform)
    return specialist_app.create_app(context, identity=seams.identity)


def _controller(seams: Seams) -> FastAPI:
    broker = seams.captioning.broker_url.get_secret_value()
    context = ControllerContext(
        database=seams.database(ControllerBase, CONTROLLER),
        platform=seams.platform,
        sink=RedisSink(broker) if broker else None,
    )
    if seams.alone:
        context.leadership.depose()
    return controller_app.create_app(context, identity=seams.identity)


TARGETS: dict[str, Callable[[Seams], FastAPI]] = {
    "datasets": _datasets,
    "training": _training,
    "caption": _caption,
    "specialist": _specialist,
    "controller": _controller,
}
