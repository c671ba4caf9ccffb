"""`vila2 benchmarks`: known benchmarks, evaluations on them, and lmms-eval results."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import RenderableType

from vila2.benchmarks.catalogue import CATALOGUE, source_named
from vila2.benchmarks.lmms_command import lmms_addresses, lmms_arguments, lmms_environment
from vila2.benchmarks.lmms_results import SOURCE, read_run
from vila2.benchmarks.source import Where
from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.datasets import dataset_ref, examples_of, version_of
from vila2.cli.models.models import scores_of
from vila2.cli.submissions import submit_shown
from vila2.client import Client
from vila2.schemas.rest.datasets import Version
from vila2.schemas.rest.training import EvaluateIn, Evaluation, ImportIn, JobIn
from vila2.system.terminal import (
    bold,
    dim,
    errors,
    moment,
    number,
    progress_bar,
    say,
    sentence,
    show_file,
    stack,
    table,
)

app = Group(
    """
Known benchmarks, and evaluations on them.

A known benchmark is read from its published files and becomes a benchmark dataset like a team's own
(`vila2 datasets submit --format benchmark`): an immutable version that evaluation jobs and recipes
name, and that audits compare with training data.
"""
)
ModelName = Annotated[str, typer.Option(help="A model listed by `vila2 models list`.")]


@app.command("list")
def list_benchmarks(session: Session) -> None:
    """List the benchmarks that can be added by name, and those in the store."""
    with session.client() as client:
        held = [
            client.datasets.version(dataset.name)
            for dataset in client.datasets.all()
            if dataset.kind == "benchmark" and dataset.latest
        ]
    session.show(held, lambda: _benchmarks(held))


@app.command("add")
def add(
    session: Session,
    benchmark: Annotated[str, typer.Argument(help="A name listed by `vila2 benchmarks list`.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="The published benchmark: a file or a folder.")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(help="Folder of its images; default: the folder that holds the file."),
    ] = None,
    name: Annotated[str, typer.Option(help="Dataset name; default: the benchmark's.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Only the first N questions; 0 for all.")] = 0,
) -> None:
    """Add a known benchmark to the store as a dataset. Adding it again has no effect."""
    known = source_named(benchmark)
    part = f", first {limit:,} questions" if limit else ""
    with tempfile.TemporaryDirectory(prefix="vila2-benchmark-") as scratch:
        folder = Path(scratch) / benchmark
        folder.mkdir()
        with errors().status(sentence(f"reading {benchmark}")):
            known.prepare(folder, Where(source, images, limit))
        with session.client() as client:
            version = submit_shown(
                client,
                folder,
                name=name or benchmark,
                format="benchmark",
                source=f"{benchmark}{part}: {known.citation}",
                licence=known.licence,
            )
            session.show(version, lambda: version_of(version, examples_of(client, version)))
    if version.state != "ready":
        raise CliError(version.error or f"the version is {version.state}")
    if not session.json:
        say(f"no training data may hold it: vila2 datasets audit --against {version.dataset}")


@app.command("run")
def run(
    session: Session,
    model: ModelName,
    benchmarks: Annotated[list[str], typer.Argument(help="Benchmark datasets, NAME or NAME@N.")],
    max_new_tokens: Annotated[
        int, typer.Option(min=1, help="Maximum number of tokens of an answer.")
    ] = 64,
) -> None:
    """Evaluate a model in a job of the platform, and print its scores."""
    refs = [dataset_ref(name) for name in benchmarks]
    asked = EvaluateIn(model=model, benchmarks=refs, max_new_tokens=max_new_tokens)
    with session.client() as client:
        job = client.training.submit(JobIn(name=f"evaluate-{model}"[:200], evaluate=asked))
        with progress_bar() as bar:
            task = bar.add_task(job.id, total=None)
            while job.state in ("queued", "starting", "running"):
                time.sleep(0.3)
                job = client.training.job(job.id)
                at = job.progress
                bar.update(task, description=at.phase, completed=at.done, total=at.total or None)
        if job.state != "succeeded":
            raise CliError(f"{job.id} {job.state}: {job.error}")
        scores = _scores(client, model, job.id)
        session.show(scores, lambda: scores_of(scores, figures=True))


@app.command("lmms-eval")
def lmms_eval(
    session: Session,
    model: ModelName,
    tasks: Annotated[str, typer.Option(help="lmms-eval's tasks, separated by commas.")] = "",
    output: Annotated[Path, typer.Option(help="Folder for its results.")] = Path("lmms-results"),
    python: Annotated[
        str,
        typer.Option(
            help="The Python interpreter that has lmms-eval: runs it and imports the scores."
        ),
    ] = "",
    limit: Annotated[
        int, typer.Option(min=0, help="Only the first N items of each task; 0 for all.")
    ] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Concurrent requests.")] = 4,
    include: Annotated[
        Path | None, typer.Option("--include-path", help="Folder of your own task files.")
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option("--keep", help="Run nothing; import the results in this file or folder."),
    ] = None,
    any_name: Annotated[
        bool,
        typer.Option(
            "--any-name", help="With --keep: also import results that name another model."
        ),
    ] = False,
) -> None:
    """Evaluate a model with lmms-eval through the OpenAI-compatible API, or import its results.

    Without `--python` the commands are printed. Address and key are passed in the environment, and
    to every task alike, so that no task sends the key elsewhere; tasks that need a judge are not
    supported. Importing the same results again has no effect.
    """
    if results is not None:
        with session.client() as client:
            _keep(session, client, results, model, any_name=any_name)
        return
    if not tasks:
        raise CliError("give --tasks, or --keep with the results of an earlier run")
    address, secret = session.served()
    client = Client.connect(address, key=secret)
    try:
        client.training.model(model)  # refuses at once if there is none
        into = output
        if python:
            into /= f"{time.strftime('%Y%m%d-%H%M%S')}-{uuid.uuid4().hex[:6]}"
        arguments = lmms_arguments(
            python or "python",
            model,
            [task for task in tasks.split(",") if task],
            into,
            limit=limit,
            concurrency=concurrency,
            include=include,
        )
        if not python:
            keep = ["vila2", "benchmarks", "lmms-eval", "--model", model, "--keep", str(into)]
            show_file(_script(address, session.workspace / "key", [arguments, keep]))
            return
        environment = lmms_environment(os.environ, address, secret)
        if ended := subprocess.run(arguments, env=environment, check=False).returncode:
            raise CliError(f"lmms-eval ended with status {ended}: read what it printed above")
        _keep(session, client, into, model, any_name=False)
    finally:
        client.close()


def _benchmarks(held: list[Version]) -> RenderableType:
    lines: list[RenderableType] = []
    for source in CATALOGUE.values():
        lines.append(sentence(bold(source.name), f"  {source.about}"))
        lines.append(dim(f"    {source.items}; metric {source.metric}; {source.licence}"))
        lines.append(dim(f"    {source.citation}"))
        lines += [dim(f"    --from {source.needs}")] if source.needs else []
    if not held:
        return stack(*lines, "The store holds no benchmark yet.")
    columns = ("version", number("images"), number("not admitted"), "licence", "created (UTC)")
    stored = table("in the store", *columns, rows=[
        (
            version.dataset, str(version.version), f"{version.samples:,}",
            f"{sum(version.rejected.values()):,}", version.licence,
            moment(version.created_at),
        )
        for version in held
    ])  # fmt: skip
    return stack(*lines, stored)


def _scores(client: Client, model: str, job: str) -> list[Evaluation]:
    """A model's scores from one evaluation or import."""
    return [s for s in client.training.model_details(model).evaluations if s.job == job]


def _script(address: str, key: Path, commands: list[list[str]]) -> str:
    """The same by hand: the key is read when it runs, and printed nowhere."""
    lines = [
        f"export {name}={shlex.quote(value)}" for name, value in lmms_addresses(address).items()
    ]
    lines.append(f'export OPENAI_API_KEY="${{VILA2_KEY:-$(cat {shlex.quote(str(key))})}}"')
    lines += map(shlex.join, commands)
    return "\n".join(lines) + "\n"


def _keep(session: Session, client: Client, path: Path, model: str, *, any_name: bool) -> None:
    found = read_run(path)
    if found.model != model and not any_name:
        raise CliError(
            f"these are results of {found.model or 'a model without a name'}, not of {model}: "
            "give its --model, or --any-name if it is the same under another name"
        )
    try:
        body = ImportIn(
            source=SOURCE, scores=found.scores, outcomes=found.outcomes, about=found.about
        )
    except ValidationError as error:
        raise CliError(f"too much for one import: {error.errors()[0]['msg']}") from error
    kept = client.training.import_scores(model, body)
    scores = _scores(client, model, kept.id)
    unread = [f"no single number, not kept: {', '.join(found.unread)}"] if found.unread else []
    session.show(kept, lambda: stack(
        f"{kept.id}: {kept.scores} scores and {kept.outcomes:,} answers of {model}",
        *unread, scores_of(scores, figures=False),
    ))  # fmt: skip
