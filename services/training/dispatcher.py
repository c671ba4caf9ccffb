"""The dispatcher: a level-triggered loop that starts queued jobs and settles those that ended.

It may die at any statement. A running job outlives it, and is found again by its handle; a job
that was interrupted is started again and goes on from its checkpoint.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from services.chassis.crashpoint import crashpoint
from services.chassis.errors import ServiceError
from services.chassis.metrics import JOBS
from services.training.backend import Backend, Command
from services.training.jobs import Jobs
from services.training.registry import Registry
from services.training.specs import SpecBuilder
from services.training.tables import JobRow
from vila2.api.training import JobIn
from vila2.client import ApiError, Client

_log = structlog.get_logger()
MAX_ATTEMPTS = 5
_MODULES = {"train": "vila2.training.train", "evaluate": "vila2.evaluation.evaluate"}


class Dispatcher:
    """Runs at most `slots` jobs at once on one backend."""

    def __init__(
        self,
        jobs: Jobs,
        registry: Registry,
        specs: SpecBuilder,
        backend: Backend,
        platform: Callable[[str], Client],
        *,
        slots: int,
    ) -> None:
        self._jobs, self._registry, self._specs = jobs, registry, specs
        self._backend, self._platform, self._slots = backend, platform, slots

    def tick(self) -> None:
        """Settle what ended, stop what was cancelled, start what fits."""
        running = 0
        for row in self._jobs.rows("running"):
            running += self._observe(row)
        for row in self._jobs.rows("cancelled"):
            if row.handle:
                self._backend.stop(row.handle, self._jobs.folder(row.id))
                self._jobs.change(row.id, expect="cancelled", handle="")
        for row in self._jobs.rows("queued"):
            if running >= self._slots:
                break
            running += self._start(row)

    def interrupt(self) -> None:
        """Let every running job checkpoint and leave; they are queued again."""
        for row in self._jobs.rows("running"):
            self._backend.stop(row.handle, self._jobs.folder(row.id))
            if self._backend.observe(row.handle, self._jobs.folder(row.id)) == "interrupted":
                self._jobs.change(
                    row.id, expect="running", state="queued", handle="", attempt=row.attempt - 1
                )

    def _start(self, row: JobRow) -> bool:
        folder = self._jobs.folder(row.id)
        folder.mkdir(parents=True, exist_ok=True)
        body = JobIn.model_validate(row.body)
        try:
            spec = self._spec(row, body, folder)
        except (ApiError, ServiceError, ValueError) as error:
            self._fail(row, "queued", str(error))
            return False
        path = folder / "spec.json"
        path.write_text(spec.model_dump_json(indent=1))
        command = Command(
            module=_MODULES[row.kind],
            spec=path,
            folder=folder,
            processes=body.train.processes if body.train else 1,
            threads=body.train.threads if body.train else 1,
            attempt=row.attempt,
        )
        handle = self._backend.submit(row.id, command)
        crashpoint("job.submitted")
        self._jobs.change(
            row.id,
            expect="queued",
            state="running",
            handle=handle,
            attempt=row.attempt + 1,
            started_at=row.started_at or time.time(),
        )
        return True

    def _spec(self, row: JobRow, body: JobIn, folder: Path) -> Any:
        platform = self._platform(row.team)
        if body.train is not None:
            named = body.train.model
            start = self._registry.locate(row.team, named) if named else None
            return self._specs.train(body.train, platform, start, folder)
        assert body.evaluate is not None  # submit checked that one of the two is set
        model = self._registry.locate(row.team, body.evaluate.model)
        return self._specs.evaluate(body.evaluate, platform, model, folder)

    def _observe(self, row: JobRow) -> bool:
        """Settle a job that ended; True while it runs."""
        folder = self._jobs.folder(row.id)
        phase = self._backend.observe(row.handle, folder)
        if phase == "running":
            return True
        if phase == "succeeded":
            self._succeed(row, folder)
        elif phase == "interrupted" and row.attempt < MAX_ATTEMPTS:
            _log.warning("job interrupted, starting it again", job=row.id, attempt=row.attempt)
            self._jobs.change(row.id, expect="running", state="queued", handle="")
        else:
            self._fail(row, "running", _reason(folder))
        return False

    def _succeed(self, row: JobRow, folder: Path) -> None:
        try:
            result = json.loads((folder / "result.json").read_text())
        except (OSError, ValueError) as error:
            self._fail(row, "running", f"the job left no result ({error})")
            return
        model = ""
        if row.kind == "train":
            body = JobIn.model_validate(row.body)
            assert body.train is not None
            model = self._registry.add(
                team=row.team,
                base_name=re.sub(r"[^a-z0-9-]+", "-", row.name.lower()).strip("-") or "model",
                folder=Path(result.pop("model")),
                sha256=result["sha256"],
                parent=body.train.model or body.train.preset,
                job=row.id,
                parameters=result["parameters"],
                data=_lineage(body),
            )
        crashpoint("job.registered")
        self._jobs.change(
            row.id,
            expect="running",
            state="succeeded",
            model=model,
            result=result,
            ended_at=time.time(),
        )
        JOBS.labels(row.kind, "succeeded").inc()

    def _fail(self, row: JobRow, expect: str, reason: str) -> None:
        self._jobs.change(
            row.id, expect=expect, state="failed", error=reason[:2000], ended_at=time.time()
        )
        JOBS.labels(row.kind, "failed").inc()
        _log.error("job failed", job=row.id, reason=reason)


def _lineage(body: JobIn) -> list[str]:
    """Datasets and layers that the job read, each once."""
    assert body.train is not None
    read = [
        name
        for stage in body.train.stages
        for source in stage.sources
        for name in (source.dataset, *(use.layer for use in source.layers))
    ]
    return list(dict.fromkeys(read))


def _reason(folder: Path) -> str:
    """Why a job failed: its own words if it left any, else the end of its log."""
    error = folder / "error.txt"
    if error.exists():
        return error.read_text()
    log = folder / "log.txt"
    tail = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
    return "the job ended without a word; its log ends:\n" + "\n".join(tail)
