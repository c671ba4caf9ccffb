"""Jobs: submitted by token, queued by priority, observed, and settled."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.chassis.database import Database, exclusively
from services.chassis.errors import Invalid, NotFound
from services.training.tables import JobRow
from vila2.api import training as api
from vila2.api.base import Progress

ARTIFACTS = ("outcomes.jsonl", "result.json", "metrics.jsonl", "spec.json")


class Jobs:
    """Owns the table `jobs` and the folders in which jobs run."""

    def __init__(self, database: Database, *, root: Path) -> None:
        self._database, self._root = database, root

    def submit(self, team: str, body: api.JobIn) -> api.Job:
        """Queue a job; a token that is known returns its job, whatever state it is in."""
        if (body.train is None) == (body.evaluate is None):
            raise Invalid("give either train or evaluate", field="train", fix="set exactly one")
        with self._database.transaction() as session:
            exclusively(session, f"token:{team}:{body.token}")
            row = session.scalar(
                select(JobRow).where(JobRow.team == team, JobRow.token == body.token)
            )
            if row is None:
                row = JobRow(
                    id=f"job-{uuid.uuid4().hex[:12]}",
                    team=team,
                    token=body.token,
                    name=body.name,
                    kind="train" if body.train else "evaluate",
                    body=body.model_dump(),
                    priority=body.priority,
                    state="queued",
                    attempt=0,
                )
                session.add(row)
                session.flush()
            return self._job(row)

    def get(self, team: str, job_id: str) -> api.Job:
        """A job and its progress."""
        with self._database.transaction() as session:
            return self._job(self._row(session, team, job_id))

    def cancel(self, team: str, job_id: str) -> api.Job:
        """Mark a job cancelled; the dispatcher stops what runs."""
        with self._database.transaction() as session:
            row = self._row(session, team, job_id, lock=True)
            if row.state in ("queued", "running"):
                row.state, row.ended_at = "cancelled", time.time()
            return self._job(row)

    def log(self, team: str, job_id: str) -> str:
        """The last 64 KiB of what the job printed."""
        with self._database.transaction() as session:
            self._row(session, team, job_id)
        path = self.folder(job_id) / "log.txt"
        return path.read_bytes()[-65536:].decode("utf-8", "replace") if path.exists() else ""

    def artifact(self, team: str, job_id: str, name: str) -> str:
        """One of the text files that jobs leave."""
        with self._database.transaction() as session:
            self._row(session, team, job_id)
        path = self.folder(job_id) / name
        if name not in ARTIFACTS or not path.is_file():
            raise NotFound(
                f"job {job_id} has no artifact {name!r}", fix=f"use one of {', '.join(ARTIFACTS)}"
            )
        return path.read_text()

    def folder(self, job_id: str) -> Path:
        """Where a job runs."""
        return self._root / job_id

    def rows(self, *states: str) -> list[JobRow]:
        """Jobs in these states, in the order in which they should run."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(JobRow)
                .where(JobRow.state.in_(states))
                .order_by(JobRow.priority.desc(), JobRow.created_at)
            )
            return list(rows)

    def change(self, job_id: str, *, expect: str, **values: Any) -> bool:
        """Compare-and-set on the state; False where somebody changed it first."""
        with self._database.transaction() as session:
            changed = session.execute(
                update(JobRow).where(JobRow.id == job_id, JobRow.state == expect).values(**values)
            )
            return bool(changed.rowcount)  # type: ignore[attr-defined]

    def _row(self, session: Session, team: str, job_id: str, *, lock: bool = False) -> JobRow:
        row = session.get(JobRow, job_id, with_for_update=lock or None)
        if row is None or row.team != team:
            raise NotFound(f"no job {job_id!r}", field="job")
        return row

    def _job(self, row: JobRow) -> api.Job:
        end = row.ended_at or time.time()
        return api.Job(
            id=row.id,
            name=row.name,
            kind=row.kind,
            state=row.state,
            attempt=row.attempt,
            model=row.model or "",
            result=row.result or {},
            error=row.error or "",
            seconds=round(end - row.started_at, 2) if row.started_at else 0.0,
            progress=self._progress(row),
        )

    def _progress(self, row: JobRow) -> Progress:
        if row.state == "queued":
            return Progress(phase="waiting for a free slot")
        if row.state == "succeeded":
            return Progress(done=1000, total=1000, unit="permille", phase="done")
        try:
            told = json.loads((self.folder(row.id) / "progress.json").read_text())
        except (OSError, ValueError):
            return Progress(phase="starting")
        return Progress(
            done=round(1000 * (told.get("fraction") or 0)),
            total=1000,
            unit="permille",
            phase=str(told.get("phase", "")),
            eta_seconds=told.get("eta_seconds"),
        )
