"""Starts a program of the platform with the seams that cost minutes made quick.

    python -m tests.chaos.child services.standalone.serve --target controller ...

The engine answers in a fraction of a second and the trainer in one; all else is the program as it
ships. CHAOS_CLOCK is by how many seconds this process's clock is wrong.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial

SKEW = float(os.environ.get("CHAOS_CLOCK", "0"))
if SKEW:  # before anything takes the function itself, as the tables' defaults do
    _true = time.time
    time.time = lambda: _true() + SKEW

import services.caption.tasks as tasks
import services.standalone.serve as serve
import services.training.dispatcher as dispatcher
from services.caption.engine import Answer, Ask
from services.chassis.database import Database
from services.chassis.objects import ObjectStore
from tests.plane.instant import InstantCaptioning, InstantEngine, InstantEngines
from tests.plane.instant_jobs import weights_in

SECONDS_A_PICTURE = 0.1


class QuickEngine(InstantEngine):
    """Takes long enough to be hit in the middle of a shard."""

    def answer(self, asks: Sequence[Ask], *, progress: Callable[[int], None]) -> list[Answer]:
        time.sleep(SECONDS_A_PICTURE * len(asks))
        return super().answer(asks, progress=progress)


class QuickEngines(InstantEngines):
    """Engines of the models that the quick trainer made."""

    def get(self, prefix: str) -> QuickEngine:
        return QuickEngine(weights_in(self._objects.local(prefix)))


class QuickCaptioning(InstantCaptioning):
    """The caption service and its workers with that engine."""

    def engines(self, database: Database, objects: ObjectStore) -> QuickEngines:  # type: ignore[override]
        return QuickEngines(objects)


def main() -> int:
    module = importlib.import_module(sys.argv[1])
    tasks.CaptionSettings = QuickCaptioning  # type: ignore[misc]
    serve.Seams = partial(serve.Seams, captioning=QuickCaptioning())  # type: ignore[misc,assignment]
    job = "tests.chaos.quick_job"
    dispatcher._MODULES.update(train=job, evaluate=job)
    ended: int = module.main(sys.argv[2:])
    return ended


if __name__ == "__main__":
    sys.exit(main())
