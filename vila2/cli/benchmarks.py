"""`vila2 benchmarks`: known benchmarks, leaks into training data, evaluations, other programs."""

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
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vila2.api.datasets import Audit, AuditIn
from vila2.api.training import EvaluateIn, ImportIn, JobIn
from vila2.benchmarks.catalogue import CATALOGUE, source_named
from vila2.benchmarks.lmms_command import lmms_addresses, lmms_arguments, lmms_environment
from vila2.benchmarks.lmms_results import SOURCE, read_run
from vila2.benchmarks.source import Where
from vila2.cli.datasets import print_version, split_version, submit_shown
from vila2.cli.progress import progress_bar
from vila2.cli.scores import print_scores
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected, served
from vila2.client import Client

app = typer.Typer(
    no_args_is_help=True,
    help="""
Benchmarks. A known one is read from its published files and becomes a benchmark dataset like a
team's own (`vila2 datasets submit --format benchmark`): an immutable version that evaluation jobs
and recipes name, and that audits hold against training data.
""",
)
console = Console(soft_wrap=True)
ModelName = Annotated[str, typer.Option(help="A model, as `vila2 registry list` tells.")]


@app.command("list")
def list_benchmarks(workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "") -> None:
    """What can be added by name, and what the store holds."""
    for source in CATALOGUE.values():
        console.print(f"[bold]{source.name}[/]  {escape(source.about)}", highlight=False)
        console.print(f"    {source.items}; metric {source.metric}; {source.licence}", style="dim")
        console.print(f"    {escape(source.citation)}", style="dim", highlight=False)
        if source.needs:
            console.print(f"    --from {escape(source.needs)}", style="dim", highlight=False)
    table = Table("in the store", "version", "pictures", "not admitted", "licence")
    with connected(workspace, url, key) as client:
        for dataset in client.datasets.all():
            if dataset.kind == "benchmark" and dataset.latest:
                held = client.datasets.version(dataset.name)
                refused = sum(held.rejected.values())
                table.add_row(
                    dataset.name, str(held.version), f"{held.samples:,}", f"{refused:,}",
                    escape(held.licence),
                )  # fmt: skip
    console.print(table if table.row_count else "The store holds no benchmark yet.")


@app.command("add")
def add(
    benchmark: Annotated[str, typer.Argument(help="A name that `vila2 benchmarks list` tells.")],
    source: Annotated[
        Path | None, typer.Option("--from", help="What its makers published: a file or a folder.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Its pictures; default: the folder that holds the file.")
    ] = None,
    name: Annotated[str, typer.Option(help="Dataset name; default: the benchmark's.")] = "",
    limit: Annotated[int, typer.Option(min=0, help="Only the first so many questions.")] = 0,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Make a known benchmark a dataset of the store; adding it again changes nothing."""
    known = source_named(benchmark)
    with tempfile.TemporaryDirectory(prefix="vila2-benchmark-") as scratch:
        folder = Path(scratch) / benchmark
        folder.mkdir()
        with console.status(f"reading {benchmark}"):
            known.prepare(folder, Where(source, images, limit))
        part = f", first {limit:,} questions" if limit else ""
        with connected(workspace, url, key) as client:
            version = submit_shown(
                client,
                folder,
                name=name or benchmark,
                format="benchmark",
                source=f"{benchmark}{part}: {known.citation}",
                licence=known.licence,
            )
            print_version(client, version)
    if version.state != "ready":
        raise CliError(version.error or f"the version is {version.state}")
    console.print(f"see that no training data holds it: vila2 benchmarks check {version.dataset}")


@app.command("check")
def check(
    benchmark: Annotated[str, typer.Argument(help="A benchmark dataset of the store.")],
    against: Annotated[
        list[str] | None, typer.Option(help="Training dataset; default: all that there are.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Look for a benchmark's pictures in training data, by digest and by perceptual hash.

    Exit status 1 where there is one: the benchmark's scores then mean nothing for models that were
    trained on it. Each dataset is audited against all benchmarks, as by `vila2 datasets audit`.
    """
    wanted, _ = split_version(benchmark)
    leaks = 0
    with connected(workspace, url, key) as client:
        held = client.datasets.all()
        if wanted not in [dataset.name for dataset in held if dataset.kind == "benchmark"]:
            raise CliError(f"the store has no benchmark {wanted!r}: `vila2 benchmarks list`")
        names = against or [d.name for d in held if d.kind != "benchmark" and d.latest]
        for name in names:
            found = _audited(client, name)
            for entry in found.contamination:
                if split_version(entry.benchmark)[0] != wanted:
                    continue
                leaks += entry.exact + entry.near
                console.print(
                    f"{found.dataset}@{found.version}: {entry.exact:,} of {entry.pictures:,} "
                    f"pictures of {entry.benchmark} exactly, {entry.near:,} nearly"
                )
    if leaks:
        raise CliError(
            f"{leaks:,} pictures of {wanted} are in training data: take them out (`vila2 datasets "
            "takedown`), or evaluate on another benchmark"
        )
    console.print(f"none of {len(names)} dataset(s) holds a picture of {wanted}")


@app.command("run")
def run(
    model: ModelName,
    benchmarks: Annotated[list[str], typer.Argument(help="Benchmark datasets, NAME or NAME@N.")],
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Of an answer.")] = 64,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Evaluate a model by a job of the platform, and print its scores."""
    asked = EvaluateIn(model=model, benchmarks=benchmarks, max_new_tokens=max_new_tokens)
    with connected(workspace, url, key) as client:
        name = f"evaluate-{model}"
        token = f"benchmarks:{uuid.uuid4().hex}"
        job = client.training.submit(JobIn(name=name[:200], token=token, evaluate=asked))
        with progress_bar(console) as bar:
            task = bar.add_task(job.id, total=None)
            while job.state in ("queued", "starting", "running"):
                time.sleep(0.3)
                job = client.training.job(job.id)
                told, total = job.progress, job.progress.total or None
                bar.update(task, description=told.phase, completed=told.done, total=total)
        if job.state != "succeeded":
            raise CliError(f"{job.id} {job.state}: {job.error}")
        scores = client.training.model_details(model).evaluations
        print_scores(console, [score for score in scores if score.job == job.id], figures=True)


@app.command("lmms-eval")
def lmms_eval(
    model: ModelName,
    tasks: Annotated[str, typer.Option(help="lmms-eval's tasks, with commas between them.")],
    output: Annotated[Path, typer.Option(help="Where its results go.")] = Path("lmms-results"),
    python: Annotated[
        str, typer.Option(help="The Python that has lmms-eval: run it, and keep the scores.")
    ] = "",
    limit: Annotated[int, typer.Option(min=0, help="Only the first so many of a task.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, help="Questions at a time.")] = 4,
    include: Annotated[
        Path | None, typer.Option("--include-path", help="Task files of your own.")
    ] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Evaluate a model by lmms-eval through the OpenAI-compatible interface of a running platform.

    Without `--python` the commands are printed. Address and key are given in the environment, and
    to every task alike, so that no task sends the key elsewhere; tasks that need a judge do not
    work here.
    """
    address, secret = served(workspace, url, key)
    key_file = workspace / "key"
    client = Client.connect(address, key=secret)
    try:
        client.training.model(model)  # says at once that there is none
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
            for name, value in lmms_addresses(address).items():
                print(f"export {name}={shlex.quote(value)}")
            print(f'export OPENAI_API_KEY="${{VILA2_KEY:-$(cat {shlex.quote(str(key_file))})}}"')
            print(shlex.join(arguments))
            print(shlex.join(["vila2", "benchmarks", "import", str(into), "--model", model]))
            return
        environment = lmms_environment(os.environ, address, secret)
        if ended := subprocess.run(arguments, env=environment, check=False).returncode:
            raise CliError(f"lmms-eval ended with status {ended}: read what it printed above")
        _import(client, into, model, any_name=False)
    finally:
        client.close()


@app.command("import")
def import_results(
    results: Annotated[
        Path, typer.Argument(help="A *_results.json of lmms-eval, or the folder that holds it.")
    ],
    model: ModelName,
    any_name: Annotated[
        bool, typer.Option("--any-name", help="Also results that name another model.")
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Keep lmms-eval's scores and answers with a model; importing them again changes nothing."""
    with connected(workspace, url, key) as client:
        _import(client, results, model, any_name=any_name)


def _import(client: Client, path: Path, model: str, *, any_name: bool) -> None:
    found = read_run(path)
    if found.model != model and not any_name:
        raise CliError(
            f"these are results of {found.model or 'a model without a name'}, not of {model}: "
            "give its --model, or --any-name if it is the same under another name"
        )
    body = ImportIn(source=SOURCE, scores=found.scores, outcomes=found.outcomes, about=found.about)
    imported = client.training.import_scores(model, body)
    console.print(
        f"{imported.id}: {imported.scores} scores and {imported.outcomes:,} answers of {model}"
    )
    if found.unread:
        console.print(f"no single number, not kept: {escape(', '.join(found.unread))}")
    scores = client.training.model_details(model).evaluations
    print_scores(console, [score for score in scores if score.job == imported.id], figures=False)


def _audited(client: Client, name: str) -> Audit:
    dataset, number = split_version(name)
    found = client.datasets.start_audit(dataset, number, AuditIn())
    with progress_bar(console) as bar:
        task = bar.add_task(f"{dataset}: hashing", total=None)
        while found.state == "running":
            time.sleep(0.2)
            found = client.datasets.audit(dataset, number)
            total = max(found.progress.total, found.progress.done)
            bar.update(task, completed=found.progress.done, total=total)
    if found.state == "failed":
        raise CliError(f"the audit of {name} failed: {found.error}")
    return found
