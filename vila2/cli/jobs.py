"""`vila2 jobs`: training and evaluation jobs, and their logs."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer
from rich.console import RenderableType

from vila2.cli.connection.session import Group, Session
from vila2.schemas.rest.training import File, Job
from vila2.system.terminal import moment, show_file, stack, table

app = Group("Training and evaluation jobs.")
JobName = Annotated[str, typer.Argument(help="Id of a job, as listed by `vila2 jobs list`.")]


@app.command("list")
def list_jobs(
    session: Session,
    state: Annotated[str, typer.Option(help="Only jobs in this state.")] = "",
    run: Annotated[str, typer.Option(help="Only jobs of this run.")] = "",
    kind: Annotated[str, typer.Option(help="Only jobs of this kind: `train` or `evaluate`.")] = "",
    parent: Annotated[str, typer.Option(help="Only the jobs of this job with several seeds.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of jobs.")] = 20,
) -> None:
    """List jobs, newest first, and why waiting jobs wait."""
    with session.client() as client:
        found = client.training.jobs(
            state=state, run=run, kind=kind, parent=parent, page=min(limit, 200)
        )
        jobs = list(islice(found, limit))
        columns = ("job", "name", "kind", "run", "state", "created (UTC)", "now")
        session.show(jobs, lambda: table(*columns, rows=[
            (
                job.id, job.name, job.kind, job.run, f"{job.state} {job.progress.fraction:.0%}",
                moment(job.created_at), job.error.partition("\n")[0] or job.progress.phase,
            )
            for job in jobs
        ]))  # fmt: skip


@app.command("show")
def show(
    session: Session,
    job: JobName,
    file: Annotated[
        str, typer.Option(help="Print this file of the job, such as metrics.jsonl.")
    ] = "",
) -> None:
    """Show a job, the jobs of its seeds, and its files."""
    with session.client() as client:
        if file:
            show_file(client.training.artifact(job, file))
            return
        found = client.training.job(job)
        left = [] if session.json else client.training.artifacts(job)
        session.show(found, lambda: _job(found, left))


@app.command("logs", prints_json=False)
def logs(
    session: Session,
    job: JobName,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the log until the job ends.")
    ] = False,
) -> None:
    """Print the end of a job's log."""
    with session.client() as client:
        parts = client.training.follow_log(job) if follow else [client.training.log(job)]
        for text in parts:
            show_file(text)


@app.command("cancel")
def cancel(session: Session, job: JobName) -> None:
    """Cancel a job, or all jobs of one with several seeds; files that they wrote are kept."""
    with session.client() as client:
        found = client.training.cancel(job)
        session.show(found, lambda: _job(found))


@app.command("retry")
def retry(session: Session, job: JobName) -> None:
    """Queue a failed or cancelled job again; a training resumes from its last checkpoint."""
    with session.client() as client:
        found = client.training.retry(job)
        session.show(found, lambda: _job(found))


def _job(job: Job, files: list[File] | None = None) -> RenderableType:
    lines = [f"{job.id} {job.name}: {job.state}, {job.progress.phase}"]
    lines += [f"  {job.error}"] if job.error else []
    lines += [f"  model {job.model}"] if job.model else []
    lines += [
        f"  seed {seed.seed}: {seed.job} {seed.state} {seed.model or seed.error}"
        for seed in job.seeds
    ]
    lines += [f"  {file.name}: {file.bytes:,} bytes" for file in files or []]
    return stack(*lines)
