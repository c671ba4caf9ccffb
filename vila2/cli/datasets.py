"""`vila2 datasets`: submit data and see what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from vila2.api.datasets import Version
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.client import Client
from vila2.data.readers import FORMATS
from vila2.submit import submit as submit_dataset

app = typer.Typer(no_args_is_help=True, help="Submit datasets and look at them.")
console = Console()


@app.command("submit")
def submit(
    path: Annotated[Path, typer.Argument(help="Folder or file to submit.")],
    name: Annotated[str, typer.Option(help="Dataset name; default: the folder's name.")] = "",
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "folder",
    shard_samples: Annotated[int, typer.Option(help="Samples of one shard.", min=1)] = 2000,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Check every picture and caption, and store the dataset as an immutable version.

    `folder` reads pictures with captions.csv (image,caption) or a .txt beside each; `webdataset`
    reads tars; `llava` a conversations.json; `benchmark` an items.jsonl. What cannot be admitted is
    quarantined with a reason and counted; submitting the same data again changes nothing.
    """
    with connected(workspace, url, key) as client:
        chosen = name or path.resolve().name.removesuffix(".tar").lower().replace(" ", "-")
        version = submit_shown(
            client, path, name=chosen, format=format, shard_samples=shard_samples
        )
        print_version(client, version)
        if version.state != "ready":
            raise CliError(version.error or f"the version is {version.state}")


def submit_shown(
    client: Client, path: Path, *, name: str, format: str, shard_samples: int = 2000
) -> Version:
    """Submit with a progress bar."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}"),
               TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(name, total=None)

        def report(phase: str, done: int, total: int | None) -> None:
            bar.update(task, description=f"{name}: {phase}", completed=done, total=total)

        return submit_dataset(
            client, path, name=name, format=format, shard_samples=shard_samples, report=report
        )


def print_version(client: Client, version: Version) -> None:
    """One line, and a table of what was not admitted."""
    console.print(
        f"[bold]{version.dataset}@{version.version}[/] {version.state}: "
        f"{version.samples:,} samples in {version.shards} shards, "
        f"{sum(version.rejected.values()):,} quarantined, "
        f"{version.repeated_captions:,} repeated captions"
    )
    for note, count in version.notes.items():
        console.print(f"  {count:,} admitted with a note: {note}")
    if not version.rejected:
        return
    table = Table("reason", "samples", "for example", title="Not admitted", title_justify="left")
    examples = client.datasets.rejected(version.dataset, version.version)
    for reason, count in sorted(version.rejected.items(), key=lambda item: -item[1]):
        detail = next((e.detail for e in examples if e.reason == reason), "")
        table.add_row(reason, str(count), detail)
    console.print(table)


@app.command("list")
def list_datasets(workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "") -> None:
    """All datasets and their newest versions."""
    with connected(workspace, url, key) as client:
        table = Table("dataset", "kind", "version", "samples", "shards", "quarantined")
        for dataset in client.datasets.all():
            if not dataset.latest:
                table.add_row(dataset.name, dataset.kind, "-", "-", "-", "-")
                continue
            version = client.datasets.version(dataset.name)
            table.add_row(
                dataset.name,
                dataset.kind,
                str(version.version),
                f"{version.samples:,}",
                str(version.shards),
                f"{sum(version.rejected.values()):,}",
            )
        console.print(table)


@app.command("show")
def show(
    name: Annotated[str, typer.Argument(help="Dataset, or dataset@version.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """One version: counts, and what was not admitted."""
    dataset, _, number = name.partition("@")
    with connected(workspace, url, key) as client:
        print_version(client, client.datasets.version(dataset, int(number or 0)))
