"""The dispatcher: a level-triggered loop that starts queued jobs and settles those that ended.

It may die at any statement, and there may be several. A job is claimed before it is started; a
running job outlives its dispatcher, and is found again by its handle; a job that was interrupted
is started again and resumes from its checkpoint.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import structlog

from services.chassis.crashpoint import crashpoint
from services.chassis.telemetry.metrics import JOB_QUEUE_SECONDS, JOBS
from services.chassis.web.errors import ServiceError
from services.training.backends.backend import Backend, BackendUnreachable, Command
from services.training.backends.folder import has_result
from services.training.jobs.jobs import Jobs
from services.training.jobs.specs import SpecBuilder
from services.training.queue.claims import Claims
from services.training.queue.early_stop import judge
from services.training.registry.registry import Registry
from services.training.tables import JobRow
from vila2.client import ApiError, Client
from vila2.schemas.rest.training import JobIn
from vila2.system.files import write_atomically
from vila2.training.progress import read_metrics

_log = structlog.get_logger()
MAX_ATTEMPTS = 5
_MODULES = {"train": "vila2.training.train", "evaluate": "vila2.evaluation.evaluate"}
_ENDS = ("succeeded", "interrupted", "failed")
STOP_STAGE = "stop_stage.json"


class Dispatcher:
    """Runs at most as many jobs at once as `claims` has slots, on one backend."""

    def __init__(
        self,
        jobs: Jobs,
        claims: Claims,
        registry: Registry,
        specs: SpecBuilder,
        backend: Backend,
        platform: Callable[[str], Client],
    ) -> None:
        self._jobs, self._claims, self._registry = jobs, claims, registry
        self._specs, self._backend, self._platform = specs, backend, platform
        self._judged: dict[str, float] = {}  # job -> modification time of the metrics last judged

    def tick(self) -> None:
        """Settle ended jobs, stop unwanted ones, and start queued jobs that fit."""
        for row in self._jobs.rows("running"):
            with _named(row):
                if row.cancel_wanted:
                    now = time.time()
                    self._jobs.change(row.id, expect="running", state="cancelled", ended_at=now)
                else:
                    self._look_at(row)
        for row in self._jobs.unwanted():
            with _named(row):
                self._stop(row)
        while (left := self._claims.left_behind()) is not None:
            with _named(left):
                self._start(left, again=True)
        while (claimed := self._claims.next()) is not None:
            with _named(claimed):
                JOB_QUEUE_SECONDS.labels(claimed.kind).observe(time.time() - claimed.created_at)
                crashpoint("job.claimed")
                self._start(claimed)
        self._jobs.settle_seeds()

    def interrupt(self) -> None:
        """Let every running job checkpoint and exit; all are queued again."""
        for row in self._jobs.rows("running"):
            if not row.handle:
                continue
            self._backend.stop(row.handle, self._jobs.folder(row.id))
            if self._backend.observe(row.handle, self._jobs.folder(row.id)) == "interrupted":
                self._jobs.change(
                    row.id,
                    expect="running",
                    ended="interrupted",
                    state="queued",
                    handle="",
                    attempt=row.attempt - 1,
                )

    def _stop(self, row: JobRow) -> None:
        """Stop a cancelled job that is still running."""
        try:
            self._backend.stop(row.handle, self._jobs.folder(row.id))
        except BackendUnreachable as error:
            _log.warning("job cannot be stopped now", reason=str(error)[:300])
            return
        crashpoint("job.stopped")
        self._jobs.change(row.id, expect=row.state, ended=row.state, handle="")

    def _start(self, row: JobRow, *, again: bool = False) -> None:
        """Submit a claimed job. If the backend or a service is unavailable, its lease expires and
        it is retried; a job that has already succeeded is not run again."""
        try:
            command = self._command(row)
            crashpoint("job.specified")
            if not self._claims.renew(row):
                return
            ended = again and has_result(command.folder / "spec.json")
            handle = "" if ended else self._backend.submit(row.id, command)
        except Exception as error:
            if _is_final(error):
                self._fail(row, "starting", str(error))
                return
            _log.exception("job could not be started yet")
            waiting = f"waiting for the backend: {error}"[:300]
            self._jobs.change(row.id, expect="starting", fence=row.fence, waiting=waiting)
            return
        crashpoint("job.submitted")
        ours = self._jobs.change(
            row.id,
            expect="starting",
            fence=row.fence,
            state="running",
            handle=handle,
            waiting="",
            started_at=row.started_at or time.time(),
        )
        if ours:
            _log.info("job started", handle=handle, attempt=row.attempt)
        else:
            _log.warning("another dispatcher has started this job too", handle=handle)

    def _command(self, row: JobRow) -> Command:
        """Write the job's spec, with every dataset at the version of the first attempt."""
        folder = self._jobs.folder(row.id)
        folder.mkdir(parents=True, exist_ok=True)
        asked = JobIn.model_validate(row.body)
        model = self._model_of(row, asked)
        body, read = self._specs.pin(asked, self._platform(row.team))
        lineage = [item.model_dump() for item in read]
        if (
            body != asked or lineage != row.lineage
        ):  # in the row before anything runs by it: a later attempt reads the same
            self._jobs.change(
                row.id,
                expect="starting",
                fence=row.fence,
                body=body.model_dump(),
                lineage=lineage,
            )
        platform = self._platform(row.team)
        if body.train is not None:
            spec: Any = self._specs.train(body.train, platform, model, folder)
        else:
            assert body.evaluate is not None  # submit checked that one of the two is set
            assert model is not None
            spec = self._specs.evaluate(body.evaluate, platform, model, folder)
        path, text = folder / "spec.json", spec.model_dump_json(indent=1)
        if not path.exists() or path.read_text() != text:
            write_atomically(path, text)
        return Command(
            module=_MODULES[row.kind],
            spec=path,
            folder=folder,
            processes=row.processes,
            threads=(body.train or body.evaluate).threads,  # type: ignore[union-attr]
            attempt=self._jobs.attempt_number(row.id),
            accelerator=(body.train.accelerator if body.train else ""),
        )

    def _model_of(self, row: JobRow, body: JobIn) -> Path | None:
        """The folder of the model that a job starts from or evaluates."""
        if body.evaluate is not None:
            return self._registry.locate(row.team, body.evaluate.model)
        named = body.train.model if body.train else ""
        return self._registry.locate(row.team, named) if named else None

    def _look_at(self, row: JobRow) -> None:
        """Observe a job; one that cannot be settled does not block the others."""
        try:
            self._observe(row)
        except Exception:
            _log.exception("job cannot be settled now", job=row.id)

    def _observe(self, row: JobRow) -> None:
        """Settle a job that ended; check a running one against its early-stop rule."""
        folder = self._jobs.folder(row.id)
        # Without a handle it ended before it was taken over.
        try:
            phase = self._backend.observe(row.handle, folder) if row.handle else "succeeded"
        except BackendUnreachable as error:
            _log.warning("job cannot be looked at now", reason=str(error)[:300])
            return
        if phase not in _ENDS:
            self._stop_early(row, folder)
        elif phase == "succeeded":
            self._succeed(row, folder)
        elif phase == "interrupted" and row.attempt < MAX_ATTEMPTS:
            _log.warning("job interrupted, starting it again", attempt=row.attempt)
            self._jobs.change(
                row.id, expect="running", ended="interrupted", state="queued", handle=""
            )
        else:
            self._fail(row, "running", _reason(folder))

    def _stop_early(self, row: JobRow, folder: Path) -> None:
        """End a stage by a file that the trainer obeys at its next step, or the whole job."""
        body = JobIn.model_validate(row.body)
        rule = body.train.early_stop if body.train else None
        if rule is None or not (folder / "metrics.jsonl").exists():
            return
        changed = (folder / "metrics.jsonl").stat().st_mtime
        if self._judged.get(row.id) == changed:
            return
        self._judged[row.id] = changed
        stop = judge(rule, read_metrics(folder))
        if stop is None:
            return
        if stop.what == "job":
            if self._jobs.change(
                row.id, expect="running", state="stopped", error=stop.reason, ended_at=time.time()
            ):
                JOBS.labels(row.kind, "stopped").inc()
        elif not (folder / STOP_STAGE).exists():
            request = {"stage": rule.stage, "reason": stop.reason}
            write_atomically(folder / STOP_STAGE, json.dumps(request))
            _log.info("stage is ended early", **request)

    def _succeed(self, row: JobRow, folder: Path) -> None:
        try:
            result = json.loads((folder / "result.json").read_text())
        except (OSError, ValueError) as error:
            self._fail(row, "running", f"the job left no result ({error})")
            return
        model = ""
        body = JobIn.model_validate(row.body)
        if body.train is not None:
            model = self._registry.add(
                team=row.team,
                base_name=re.sub(r"[^a-z0-9-]+", "-", row.name.lower()).strip("-") or "model",
                folder=_model_folder(Path(result.pop("model")), folder),
                sha256=result["sha256"],
                parent=body.train.model or body.train.preset,
                job=row.id,
                parameters=result["parameters"],
                data=_data(body),
                run=row.run,
                lineage=row.lineage,
                config=body.train.model_dump(),
                result=result,
            )
        elif body.evaluate is not None:
            self._registry.record_evaluations(
                row.team,
                body.evaluate.model,
                job=row.id,
                version=", ".join(body.evaluate.benchmarks),
                scores=result.get("scores", []),
            )
        crashpoint("job.registered")
        settled = self._jobs.change(
            row.id,
            expect="running",
            ended="succeeded",
            state="succeeded",
            model=model,
            result=result,
            handle="",
            ended_at=time.time(),
        )
        if settled:
            JOBS.labels(row.kind, "succeeded").inc()
            _log.info("job succeeded", model=model)

    def _fail(self, row: JobRow, expect: str, reason: str) -> None:
        failed = self._jobs.change(
            row.id,
            expect=expect,
            ended="failed",
            fence=row.fence if expect == "starting" else None,
            state="failed",
            error=reason[:2000],
            handle="",
            ended_at=time.time(),
        )
        if failed:
            JOBS.labels(row.kind, "failed").inc()
            _log.error("job failed", reason=reason)


def _named(row: JobRow) -> AbstractContextManager[object]:
    """Bind the job and its run to log lines."""
    return structlog.contextvars.bound_contextvars(job=row.id, run=row.run)


def _model_folder(told: Path, folder: Path) -> Path:
    """The folder of a job's model, also after the workspace was restored at another path."""
    return told if told.exists() else folder / told.name


def _is_final(error: Exception) -> bool:
    """Whether a job that could not be started never can be: what it asks for is refused."""
    if isinstance(error, ApiError):
        return not error.passing
    return isinstance(error, ServiceError | ValueError)


def _data(body: JobIn) -> list[str]:
    """Datasets with their versions and layers that the job read, each once."""
    assert body.train is not None
    read = [
        name
        for stage in body.train.stages
        for source in stage.sources
        for name in (source.dataset, *(use.layer for use in source.layers))
    ]
    return list(dict.fromkeys(read))


def _reason(folder: Path) -> str:
    """Why a job failed: its error message if it wrote one, else the end of its log."""
    error = folder / "error.txt"
    if error.exists():
        return error.read_text()
    log = folder / "log.txt"
    tail = log.read_text(errors="replace").splitlines()[-15:] if log.exists() else []
    return "the job ended without a word; its log ends:\n" + "\n".join(tail)
