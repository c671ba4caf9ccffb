"""`vila2 datasets`: submit data and see what became of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vila2.api.datasets import LatestIn, Version
from vila2.cli.progress import progress_bar
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.client import Client
from vila2.data.readers import FORMATS, ReadOptions
from vila2.schemas.refs import DatasetRef
from vila2.submit import register
from vila2.submit import submit as submit_dataset

app = typer.Typer(no_args_is_help=True, help="Submit datasets, look at them, keep them clean.")
console = Console()


@app.command("submit")
def submit(
    path: Annotated[str, typer.Argument(help="Folder or file, or s3://SOURCE/PREFIX.")],
    name: Annotated[str, typer.Option(help="Dataset name; default: the folder's name.")] = "",
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "folder",
    shard_samples: Annotated[int, typer.Option(help="Samples of one shard.", min=1)] = 2000,
    caption_field: Annotated[
        str, typer.Option(help="Column of captions (folder, parquet, urls).")
    ] = "",
    image_field: Annotated[str, typer.Option(help="Column of pictures (folder, parquet).")] = "",
    url_field: Annotated[str, typer.Option(help="Column of addresses (urls).")] = "",
    captionless: Annotated[
        bool, typer.Option("--captionless", help="Admit pictures that have no text.")
    ] = False,
    structure_only: Annotated[
        bool,
        typer.Option("--structure-only", help="Check that pictures are whole; decode no pixel."),
    ] = False,
    source: Annotated[str, typer.Option(help="Where it comes from, for the card.")] = "",
    licence: Annotated[str, typer.Option(help="Its licence, for the card.")] = "",
    by_store: Annotated[
        bool, typer.Option("--by-store", help="Send the files as they are; the store reads them.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="A new version, even of data submitted before.")
    ] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Check every picture and caption, and store the dataset as an immutable version.

    Formats: `folder` pictures with captions.csv (image,caption), or a .txt or .json beside each;
    `webdataset` tars; `img2dataset` its output folder; `llava` conversations.json; `parquet` files
    or a Hugging Face dataset with the pictures' bytes; `urls` a .jsonl, .csv or .parquet list that
    the store fetches; `benchmark` an items.jsonl. `s3://SOURCE/PREFIX` registers WebDataset tars of
    a configured source in place. What cannot be admitted is quarantined with a reason and counted;
    submitting the same data again changes nothing, and a submission that was cut goes on.
    """
    options = ReadOptions(
        image_field, caption_field, url_field, captionless, structure_only=structure_only
    )
    with connected(workspace, url, key) as client:
        if path.startswith("s3://"):
            version = _register(client, path, name, options, licence)
        else:
            version = submit_shown(
                client,
                Path(path),
                name=name or _name_of(Path(path)),
                format=format,
                shard_samples=shard_samples,
                options=options,
                source=source,
                licence=licence,
                by_store=by_store,
                again=again,
            )
        print_version(client, version)
        if version.state != "ready":
            raise CliError(version.error or f"the version is {version.state}")


def submit_shown(
    client: Client,
    path: Path,
    *,
    name: str,
    format: str,
    shard_samples: int = 2000,
    options: ReadOptions | None = None,
    source: str = "",
    licence: str = "",
    by_store: bool = False,
    again: bool = False,
) -> Version:
    """Submit with a progress bar."""
    with progress_bar(console) as bar:
        task = bar.add_task(name, total=None)

        def report(phase: str, done: int, total: int | None) -> None:
            bar.update(task, description=f"{name}: {phase}", completed=done, total=total)

        return submit_dataset(
            client,
            path,
            name=name,
            format=format,
            shard_samples=shard_samples,
            options=options,
            source=source,
            licence=licence,
            by_store=by_store,
            again=again,
            report=report,
        )


def _register(client: Client, path: str, name: str, options: ReadOptions, licence: str) -> Version:
    origin, _, prefix = path.removeprefix("s3://").partition("/")
    chosen = name or prefix.strip("/").rsplit("/", 1)[-1].lower() or origin
    with progress_bar(console) as bar:
        task = bar.add_task(chosen, total=None)

        def report(phase: str, done: int, total: int | None) -> None:
            bar.update(task, description=f"{chosen}: {phase}", completed=done, total=total)

        return register(
            client, origin, prefix, name=chosen, options=options, licence=licence, report=report
        )


def _name_of(path: Path) -> str:
    plain = path.resolve().name.lower().replace(" ", "-")
    for suffix in (".tar", ".parquet", ".jsonl", ".json", ".csv"):
        plain = plain.removesuffix(suffix)
    return plain


def print_version(client: Client, version: Version) -> None:
    """One line, and a table of what was not admitted."""
    console.print(
        f"[bold]{version.dataset}@{version.version}[/] {version.state}: "
        f"{version.samples:,} samples in {version.shards} shards, "
        f"{sum(version.rejected.values()):,} quarantined, "
        f"{version.repeated_captions:,} repeated captions"
    )
    if version.origin:
        console.print(f"  registered in place: {version.source}")
    if version.taken_down:
        console.print(f"  {version.taken_down:,} taken down since")
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
def list_datasets(
    query: Annotated[str, typer.Argument(help="Only names that hold this.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """All datasets and the versions in use."""
    with connected(workspace, url, key) as client:
        table = Table("dataset", "kind", "version", "samples", "shards", "quarantined")
        for dataset in client.datasets.all(query):
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
    """One version, by default the one in use: counts, and what was not admitted."""
    dataset, number = split_version(name)
    with connected(workspace, url, key) as client:
        print_version(client, client.datasets.version(dataset, number))


@app.command("use")
def use(
    name: Annotated[str, typer.Argument(help="dataset@version.")],
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Let the dataset's bare name mean this version: roll back, or forward again."""
    dataset, number = split_version(name)
    if not number:
        raise CliError("give dataset@version; `vila2 datasets show` tells the version in use")
    with connected(workspace, url, key) as client:
        client.datasets.use(dataset, LatestIn(version=number, reason=reason))
        console.print(f"[bold]{dataset}[/] now means version {number}")


def split_version(name: str) -> tuple[str, int]:
    """`NAME@VERSION` as its two parts; version 0 where there is none."""
    ref = dataset_ref(name)
    return ref.name, ref.version


def dataset_ref(name: str) -> DatasetRef:
    """`NAME` or `NAME@VERSION` as it was given."""
    try:
        return DatasetRef.parse(name)
    except ValueError as error:
        raise CliError(str(error)) from error
