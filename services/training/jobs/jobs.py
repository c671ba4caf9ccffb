"""Jobs: submit, find, cancel, retry and settle."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import JOBS
from services.chassis.web.errors import Conflict, Invalid, NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.chassis.web.paging import WHOLE, Page
from services.training.jobs.files import JobFiles
from services.training.queue.attempts import close_attempt, latest_attempt
from services.training.queue.seeds import child_body, together
from services.training.queue.size import check_size
from services.training.tables import JobRow
from vila2.model.preset import PresetError, named_preset
from vila2.schemas.rest import training as api
from vila2.schemas.rest.base import Progress

_AGAIN = ("failed", "cancelled")


class Jobs:
    """Owns the tables `jobs` and `attempts`, and the folders in which jobs run.

    `accelerator` is what a process keeps busy if the job does not specify it; `max_cpus` is how
    many CPUs a job may ask for.
    """

    def __init__(
        self, database: Database, *, root: Path, accelerator: str = "cpu", max_cpus: int = 4096
    ) -> None:
        self._database, self._accelerator, self._max_cpus = database, accelerator, max_cpus
        self.files = JobFiles(root)

    def submit(self, team: str, body: api.JobIn, token: str | None = None) -> api.Job:
        """Queue a job; a token that is known returns its job, whatever state it is in."""
        if (body.train is None) == (body.evaluate is None):
            raise Invalid("give either train or evaluate", field="train", fix="set exactly one")
        if body.seeds and body.train is None:
            raise Invalid("an evaluation has no seed", field="seeds", fix="leave `seeds` out")
        if len(set(body.seeds)) != len(body.seeds):
            raise Invalid("a seed is given twice", field="seeds", fix="give each seed once")
        if body.train and body.train.early_stop:
            _check_stage(body.train, body.train.early_stop.stage)
        asked = KeyedRequest.of(token, body)

        def found_or_made(session: Session) -> api.Job:
            row = asked.find(session, JobRow, team=team)
            if row is None:
                check_size(body, self._max_cpus)
                _check_start(body.train)
                row = self._add(session, team, body, asked=asked)
                for seed in body.seeds:
                    child = child_body(body, seed)
                    self._add(session, team, child, parent=row.id)
                session.flush()
            return self._job(session, row)

        return create_once(self._database, found_or_made)

    def get(self, team: str, job_id: str) -> api.Job:
        """A job and its progress."""
        with self._database.transaction() as session:
            return self._job(session, self._row(session, team, job_id))

    def row(self, team: str, job_id: str) -> JobRow:
        """The row of a team's job; another team's job is not found."""
        with self._database.transaction() as session:
            return self._row(session, team, job_id)

    def find(
        self,
        team: str,
        page: Page = WHOLE,
        *,
        state: str = "",
        run: str = "",
        kind: str = "",
        parent: str = "",
    ) -> list[api.Job]:
        """A team's jobs, the newest first; jobs of seeds only if their parent is given."""
        wanted: list[ColumnElement[bool]] = [JobRow.team == team, JobRow.parent == parent]
        for column, value in ((JobRow.state, state), (JobRow.run, run), (JobRow.kind, kind)):
            if value:
                wanted.append(column == value)
        chosen, at = select(JobRow).where(*wanted), JobRow.created_at
        with self._database.reading() as session:
            rows = page.rows(session, chosen, at, JobRow.id, newest_first=True)
            return [self._job(session, row) for row in rows]

    def cancel(self, team: str, job_id: str) -> api.Job:
        """Mark a job cancelled; the dispatcher stops what runs.

        A job that is being started is stopped as soon as its backend has returned its handle.
        """
        with self._database.transaction() as session:
            row = self._row(session, team, job_id, lock=True)
            for each in [row, *self._children(session, row, lock=True)]:
                if each.state == "starting":
                    each.cancel_wanted = True
                elif each.state in ("queued", "running"):
                    each.state, each.ended_at = "cancelled", time.time()
            return self._job(session, row)

    def attempt_number(self, job_id: str) -> int:
        """The number of the attempt in hand; unlike the count it never goes back."""
        with self._database.transaction() as session:
            return latest_attempt(session, job_id)

    def retry(self, team: str, job_id: str) -> api.Job:
        """Requeue a failed or cancelled job; a training resumes from its checkpoint.

        Of a job with seeds, those that failed or were cancelled.
        """
        with self._database.transaction() as session:
            row = self._row(session, team, job_id, lock=True)
            again = [
                each
                for each in self._children(session, row, lock=True) or [row]
                if each.state in _AGAIN
            ]
            if not again:
                raise Conflict(
                    f"job {job_id} is {row.state}", field="job", fix="only failed and cancelled "
                    "jobs are tried again",
                )  # fmt: skip
            if any(each.handle for each in again):
                raise Conflict(f"job {job_id} is still being stopped", fix="try in a moment")
            whole = [session.get_one(JobRow, row.parent)] if row.parent else [row]
            for each in {each.id: each for each in (*whole, *again)}.values():
                each.state, each.attempt, each.error, each.ended_at = "queued", 0, "", 0.0
                each.cancel_wanted = False
                (self.folder(each.id) / "result.json").unlink(missing_ok=True)
            return self._job(session, row)

    def folder(self, job_id: str) -> Path:
        """Where a job runs."""
        return self.files.folder(job_id)

    def rows(self, *states: str) -> list[JobRow]:
        """Jobs in these states that are run themselves, the highest priority first."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(JobRow)
                .where(JobRow.state.in_(states), JobRow.children == 0)
                .order_by(JobRow.priority.desc(), JobRow.created_at)
            )
            return list(rows)

    def unwanted(self) -> list[JobRow]:
        """Jobs that were cancelled or stopped, and that a backend may still be running."""
        with self._database.transaction() as session:
            ended = JobRow.state.in_(("cancelled", "stopped"))
            return list(session.scalars(select(JobRow).where(ended, JobRow.handle != "")))

    def change(
        self, job_id: str, *, expect: str, fence: int | None = None, ended: str = "", **values: Any
    ) -> bool:
        """Compare-and-set on the state; False if it has changed.

        With `ended` the attempt in hand ends too, in the same transaction.
        """
        held = [JobRow.id == job_id, JobRow.state == expect]
        if fence is not None:
            held.append(JobRow.fence == fence)
        with self._database.transaction() as session:
            changed = session.execute(update(JobRow).where(*held).values(**values))
            if not changed.rowcount:  # type: ignore[attr-defined]
                return False
            if ended:
                close_attempt(session, job_id, ended, self.files.last_sign(job_id))
            return True

    def settle_seeds(self) -> None:
        """Give every job with seeds the state of its jobs together."""
        with self._database.transaction() as session:
            parents = session.scalars(
                select(JobRow)
                .where(JobRow.children > 0, JobRow.state.in_(("queued", "running")))
                .with_for_update()
            )
            for row in parents:
                held = self._children(session, row)
                state = together([child.state for child in held])  # type: ignore[misc]
                if state == row.state:
                    continue
                row.state = state
                row.started_at = row.started_at or time.time()
                if state not in ("queued", "running"):
                    row.ended_at = time.time()
                    row.error = "; ".join(f"{c.name}: {c.error}" for c in held if c.error)[:2000]
                    JOBS.labels("seeds", state).inc()

    def _add(
        self,
        session: Session,
        team: str,
        body: api.JobIn,
        *,
        parent: str = "",
        asked: KeyedRequest | None = None,
    ) -> JobRow:
        work = body.train or body.evaluate
        assert work is not None
        row = JobRow(
            id=f"job-{uuid.uuid4().hex[:12]}",
            team=team,
            **(asked.columns if asked is not None else {}),
            name=body.name,
            kind="train" if body.train else "evaluate",
            body=body.model_dump(),
            priority=body.priority,
            state="queued",
            attempt=0,
            handle="",
            run=body.run,
            parent=parent,
            children=len(body.seeds),
            unit="gpu" if (work.accelerator or self._accelerator) == "gpu" else "process",
            processes=body.train.processes if body.train else 1,
            started_at=0.0,
            ended_at=0.0,
        )
        session.add(row)
        session.flush()
        return row

    def _children(self, session: Session, row: JobRow, *, lock: bool = False) -> Sequence[JobRow]:
        if not row.children:
            return []
        chosen = select(JobRow).where(JobRow.parent == row.id).order_by(JobRow.created_at)
        return session.scalars(chosen.with_for_update() if lock else chosen).all()

    def _row(self, session: Session, team: str, job_id: str, *, lock: bool = False) -> JobRow:
        row = session.get(JobRow, job_id, with_for_update=lock or None)
        if row is None or row.team != team:
            raise NotFound(f"no job {job_id!r}", field="job")
        return row

    def _job(self, session: Session, row: JobRow) -> api.Job:
        end = row.ended_at or time.time()
        seeds = [
            api.SeedJob(
                seed=child.body["train"]["seed"],
                job=child.id,
                state=_shown(child),
                model=child.model,
                result=child.result or {},
                error=child.error,
            )
            for child in self._children(session, row)
        ]
        progress = self.files.progress(row)
        if seeds:
            done = sum(seed.state == "succeeded" for seed in seeds)
            progress = Progress(done=done, total=len(seeds), unit="seeds", phase=row.state)
        return api.Job(
            id=row.id,
            name=row.name,
            kind=row.kind,
            state=_shown(row),
            attempt=row.attempt,
            run=row.run,
            priority=row.priority,
            parent=row.parent,
            model=row.model or "",
            result=row.result or {},
            error=row.error or "",
            seconds=round(end - row.started_at, 2) if row.started_at else 0.0,
            created_at=row.created_at,
            seeds=seeds,
            progress=progress,
        )


def _shown(row: JobRow) -> str:
    """The state shown to callers: a job marked for cancellation is shown as cancelled."""
    return "cancelled" if row.state == "starting" and row.cancel_wanted else row.state


def _check_start(train: api.TrainIn | None) -> None:
    """A training begins from a preset that there is, or from a model."""
    if train is None:
        return
    if train.init != "new":
        if not train.model:
            said = f"init {train.init!r} begins from a model"
            raise Invalid(said, field="train.model", fix="name one: `vila2 models list`")
        return
    try:
        named_preset(train.preset)
    except PresetError as error:
        fix = "see `vila2 models list --presets`"
        raise Invalid(str(error), field="train.preset", fix=fix) from error


def _check_stage(train: api.TrainIn, name: str) -> None:
    stages = [stage.name for stage in train.stages]
    if name not in stages:
        raise Invalid(
            f"early_stop watches the stage {name!r}, which is not trained",
            field="train.early_stop.stage",
            fix=f"use one of {', '.join(stages)}" if stages else "give the job stages",
        )
