"""Processes of the platform, with the seams that cost minutes made quick.

The engine answers in a fraction of a second and the trainer in one; all else is the program as it
ships. One process imports everything once and is forked for each that is asked for, so that to
start one again takes no longer than its own start. It reads requests from standard input, a line
each ({"module", "arguments", "environment", "log"}), and answers with the process's number.

CHAOS_CLOCK in the environment is by how many seconds that process's clock is wrong,
CHAOS_IMAGE_SECONDS how long a caption takes.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import services.caption.jobs.worker_command as tasks
import services.platform.serve as serve
import services.training.jobs.dispatcher as dispatcher
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from tests.support.runs.instant_engine_and_backend import (
    InstantCaptioning,
    InstantEngine,
    InstantEngines,
)
from tests.support.runs.instant_jobs import weights_in
from vila2.engine.requests import Generation, Request

# Imported by the services when they are first used; here, before the first fork.
_NEEDED = (
    "services.chassis.storage.objects_s3",
    "services.chassis.work.queue_celery",
    "psycopg",
    "redis",
)


class QuickEngine(InstantEngine):
    """Takes long enough to be hit in the middle of a shard."""

    def generate(
        self, requests: Sequence[Request], *, progress: Callable[[int], None]
    ) -> list[Generation]:
        time.sleep(float(os.environ.get("CHAOS_IMAGE_SECONDS", "0.2")) * len(requests))
        made = super().generate(requests, progress=progress)
        # Without the question, which the gate would take for a leak of the prompt.
        return [replace(one, text=one.text.rpartition(",")[0]) for one in made]


class QuickEngines(InstantEngines):
    """Engines of the models that the quick trainer made."""

    def get(self, prefix: str) -> QuickEngine:
        return QuickEngine(weights_in(self._objects.local(prefix)))


class QuickCaptioning(InstantCaptioning):
    """The caption service and its workers with that engine."""

    def engines(self, database: Database, objects: ObjectStore) -> QuickEngines:  # type: ignore[override]
        return QuickEngines(objects)


def main() -> int:
    """Fork a process for each line, until there are no more."""
    # Whoever dies is cleared away at once: the harness looks whether a number is still in use.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _NEEDED:
        importlib.import_module(name)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            os._exit(_live(json.loads(line)))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
    return 0


def _live(asked: dict[str, Any]) -> int:
    """Be the process that was asked for, until it ends."""
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    with Path(asked["log"]).open("ab") as log, Path(os.devnull).open("rb") as nothing:
        for own, held in ((0, nothing), (1, log), (2, log)):
            os.dup2(held.fileno(), own)
    os.environ.clear()
    os.environ.update(asked["environment"])
    wrong = float(os.environ.get("CHAOS_CLOCK", "0"))
    if wrong:
        true = time.time
        time.time = lambda: true() + wrong
    tasks.CaptionSettings = QuickCaptioning  # type: ignore[misc]
    serve.Seams = partial(serve.Seams, captioning=QuickCaptioning())  # type: ignore[misc,assignment]
    job = "tests.support.chaos.quick_job"
    dispatcher._MODULES.update(train=job, evaluate=job)
    try:
        return int(importlib.import_module(asked["module"]).main(asked["arguments"]))
    except BaseException:
        traceback.print_exc()
        return 1


if __name__ == "__main__":
    sys.exit(main())
