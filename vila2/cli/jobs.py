"""`vila2 jobs`: training and evaluation jobs, their logs, what they used, and quotas."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from vila2.api.training import Job, JobIn, QuotaIn
from vila2.cli import terminal
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected

app = typer.Typer(no_args_is_help=True, help="Training and evaluation jobs, and what they use.")
console = terminal.console()
JobName = Annotated[str, typer.Argument(help="Job id, as `vila2 jobs list` tells it.")]


@app.command("submit")
def submit(
    file: Annotated[Path, typer.Argument(help="A job as JSON (the body of POST /v1/jobs).")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Queue a job; the same token in the file finds the same job again."""
    try:
        body = JobIn.model_validate_json(file.read_text())
    except (OSError, ValueError) as error:
        raise CliError(f"{file} is not a job: {error}") from error
    with connected(workspace, url, key) as client:
        console.print(client.training.submit(body).id)


@app.command("list")
def list_jobs(
    state: Annotated[str, typer.Option(help="Only jobs in this state.")] = "",
    run: Annotated[str, typer.Option(help="Only jobs of this run.")] = "",
    kind: Annotated[str, typer.Option(help="Only `train` or `evaluate`.")] = "",
    parent: Annotated[str, typer.Option(help="The jobs of a job with seeds.")] = "",
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Jobs, the newest first, and why those that wait do."""
    table = Table("job", "name", "kind", "run", "state", "done", "now")
    with connected(workspace, url, key) as client:
        found = client.training.jobs(
            state=state, run=run, kind=kind, parent=parent, page=max(1, min(limit, 200))
        )
        for job in islice(found, limit):
            table.add_row(
                job.id, job.name, job.kind, job.run, job.state,
                f"{job.progress.fraction:.0%}", job.error[:60] or job.progress.phase,
            )  # fmt: skip
        console.print(table)


@app.command("show")
def show(
    job: JobName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """A job, the jobs of its seeds, and the files that it left."""
    with connected(workspace, url, key) as client:
        found = client.training.job(job)
        _print_job(found)
        for file in client.training.artifacts(job):
            console.print(f"  {file.name}: {file.bytes:,} bytes")


@app.command("logs")
def logs(
    job: JobName,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until the job ends.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """The end of what a job printed."""
    with connected(workspace, url, key) as client:
        if not follow:
            print(client.training.log(job), end="")
            return
        for text in client.training.follow_log(job):
            print(text, end="", flush=True)


@app.command("artifact")
def artifact(
    job: JobName,
    name: Annotated[str, typer.Argument(help="A file, as `vila2 jobs show` lists them.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Print one of the files that a job left, such as outcomes.jsonl or metrics.jsonl."""
    with connected(workspace, url, key) as client:
        print(client.training.artifact(job, name), end="")


@app.command("cancel")
def cancel(
    job: JobName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """Stop a job, or all jobs of one with seeds; what they wrote stays."""
    with connected(workspace, url, key) as client:
        _print_job(client.training.cancel(job))


@app.command("retry")
def retry(
    job: JobName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """Queue a failed or cancelled job again; a training goes on from its checkpoint."""
    with connected(workspace, url, key) as client:
        _print_job(client.training.retry(job))


@app.command("usage")
def usage(
    by: Annotated[Literal["team", "run"], typer.Option(help="What to add up.")] = "run",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="From this day on (UTC).")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """GPU-hours and process-hours of all attempts, and what is left of the team's quota."""
    start = since.replace(tzinfo=UTC).timestamp() if since else 0.0
    with connected(workspace, url, key) as client:
        table = Table("team", "run", "GPU-hours", "process-hours", "jobs", "attempts")
        for used in client.training.usage(by, since=start):
            table.add_row(
                used.team, used.run, f"{used.gpu_hours:.2f}", f"{used.process_hours:.2f}",
                str(used.jobs), str(used.attempts),
            )  # fmt: skip
        console.print(table)
        quota = client.training.quota()
        for what, limit, spent in (
            ("GPU-hours", quota.gpu_hours, quota.gpu_hours_used),
            ("process-hours", quota.process_hours, quota.process_hours_used),
        ):
            if limit is not None:
                console.print(f"{spent:.2f} of {limit:g} {what} ({quota.window})")


@app.command("quota")
def quota(
    team: Annotated[str, typer.Argument(help="Whose.")],
    gpu_hours: Annotated[float | None, typer.Option(help="Limit; none without.")] = None,
    process_hours: Annotated[float | None, typer.Option(help="For jobs without a GPU.")] = None,
    window: Annotated[
        Literal["month", "30d"], typer.Option(help="Calendar month, or the last 30 days.")
    ] = "month",
    max_jobs: Annotated[int | None, typer.Option(help="Jobs at once.")] = None,
    share: Annotated[float, typer.Option(help="Weight between waiting teams.")] = 1.0,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Set a team's quota, in whole; the key must hold quotas:write. A team over it waits."""
    body = QuotaIn(
        gpu_hours=gpu_hours,
        process_hours=process_hours,
        window=window,
        max_jobs=max_jobs,
        share=share,
    )
    with connected(workspace, url, key) as client:
        console.print(client.training.set_quota(team, body).model_dump_json(indent=1))


def _print_job(job: Job) -> None:
    console.print(f"{job.id} {job.name}: {job.state}, {job.progress.phase}")
    if job.error:
        console.print(f"  {job.error}", style="red", markup=False)
    if job.model:
        console.print(f"  model {job.model}")
    for seed in job.seeds:
        console.print(f"  seed {seed.seed}: {seed.job} {seed.state} {seed.model or seed.error}")
