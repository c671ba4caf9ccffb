"""`vila2 benchmarks list|add|check|run`: known benchmarks, their leaks, evaluations on them."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from vila2.api.datasets import Audit, AuditIn
from vila2.api.training import EvaluateIn, JobIn
from vila2.benchmarks.catalogue import CATALOGUE, source_named
from vila2.benchmarks.source import Where
from vila2.cli import terminal
from vila2.cli.datasets import dataset_ref, print_version, split_version, submit_shown
from vila2.cli.progress import progress_bar
from vila2.cli.scores import print_scores
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.client import Client

app = typer.Typer(
    no_args_is_help=True,
    help="""
Benchmarks. A known one is read from its published files and becomes a benchmark dataset like a
team's own (`vila2 datasets submit --format benchmark`): an immutable version that evaluation jobs
and recipes name, and that audits hold against training data.
""",
)
console = terminal.console()
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
    refs = [dataset_ref(name) for name in benchmarks]
    asked = EvaluateIn(model=model, benchmarks=refs, max_new_tokens=max_new_tokens)
    with connected(workspace, url, key) as client:
        name = f"evaluate-{model}"
        job = client.training.submit(JobIn(name=name[:200], evaluate=asked))
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
