"""`vila2 datasets delete|exclude|usage|gc`: what is stored, and how to store less."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.datasets import examples_of, split_version, version_of
from vila2.cli.governance import app
from vila2.client import Client
from vila2.schemas.rest.dataset_upkeep import (
    Deletion,
    ExcludeIn,
    Garbage,
    StorageUsage,
    Unreferenced,
)
from vila2.system.terminal import bold, number, progress_bar, say, sentence, size, stack, table

__all__ = ["app"]


@app.command("delete")
def delete(
    session: Session,
    name: Annotated[str, typer.Argument(help="dataset@version, or a dataset with all versions.")],
    with_layers: Annotated[
        bool, typer.Option("--with-layers", help="Delete its caption layers too.")
    ] = False,
    despite_models: Annotated[
        bool,
        typer.Option("--despite-models", help="Delete it although models were trained on it."),
    ] = False,
    reason: Annotated[str, typer.Option(help="Reason, kept in the history.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Delete a version, or a whole dataset, and print the bytes that this frees.

    Shards that another version has stay. A failed or unfinished submission is deleted in the same
    way. Refused while caption layers, caption jobs, unfinished runs or models depend on it. This
    cannot be undone, and the number is not used again.

        vila2 datasets delete photos@1
    """
    dataset, version = split_version(name)
    with session.client() as client:
        if not yes:
            _confirm(f"Delete {_described(client, dataset, version)} for good?")
        found = client.datasets.delete(
            dataset,
            version,
            with_layers=with_layers,
            despite_models=despite_models,
            reason=reason,
        )
        with progress_bar() as bar:
            task = bar.add_task("deleting shards", total=None)
            while found.state == "running":
                time.sleep(0.1)
                found = client.datasets.deletion(found.id)
                bar.update(task, completed=found.progress.done)
        if found.state == "failed":
            raise CliError(f"the deletion failed: {found.error}; the same command continues it")
        session.show(found, lambda: _deletion(found))


@app.command("exclude")
def exclude(
    session: Session,
    name: Annotated[str, typer.Argument(help="Dataset or dataset@version.")],
    samples: Annotated[
        list[str] | None, typer.Argument(help="Keys of the samples to leave out.")
    ] = None,
    keys: Annotated[
        Path | None,
        typer.Option(help="File of keys to leave out, one a line; - for standard input."),
    ] = None,
    reason: Annotated[str, typer.Option(help="Reason, kept in the history.")] = "",
) -> None:
    """Make a new version without some samples; the old version stays as it is.

    Shards that hold none of them are shared with the old version. To remove an image from every
    version because its owner asks for it, use `vila2 datasets takedown`.

        vila2 datasets exclude photos p17 p21 --reason "also in pope"
    """
    chosen = [*(samples or []), *(_lines(keys) if keys else [])]
    if not chosen:
        raise CliError("give the keys of samples to leave out, or --keys FILE")
    dataset, version = split_version(name)
    with session.client() as client:
        body = ExcludeIn(keys=list(dict.fromkeys(chosen)), reason=reason)
        made = client.datasets.exclude(dataset, version, body)
        with progress_bar() as bar:
            task = bar.add_task(f"{dataset}: copying", total=None)
            while made.state == "ingesting":
                time.sleep(0.1)
                made = client.datasets.version(dataset, made.version)
                bar.update(task, completed=made.progress.done)
        session.show(made, lambda: version_of(made, examples_of(client, made)))
        if made.state != "ready":
            raise CliError(made.error or f"the version is {made.state}")
        if not session.json and client.datasets.get(dataset).latest == made.version:
            say(f"{dataset} now means version {made.version}")


@app.command("usage")
def usage(session: Session) -> None:
    """Show what each dataset and version stores, and the quota.

    `own` is what deleting the version would free of shards; `shared` is in another version of the
    team too. Versions that are open or have failed are submissions that hold uploads only.

        vila2 datasets usage
    """
    with session.client() as client:
        found = client.datasets.usage()
        session.show(found, lambda: _usage(found))


@app.command("gc")
def collect(
    session: Session,
    yes: Annotated[bool, typer.Option("--yes", help="Delete it; without, only show it.")] = False,
) -> None:
    """Find uploads that were abandoned a day ago, and objects that nothing refers to.

    Nothing is deleted without `--yes`, and never an object that is younger than an hour. What
    belongs to no team is shown and deleted only with the scope `platform:admin`.

        vila2 datasets gc
        vila2 datasets gc --yes
    """
    with session.client() as client:
        found = client.datasets.collect_garbage() if yes else client.datasets.garbage()
        session.show(found, lambda: _garbage(found))


def _confirm(question: str) -> None:
    """Ask on the terminal; raises `CliError` unless the answer is yes."""
    try:
        agreed = typer.confirm(question, err=True)
    except typer.Abort as error:
        raise CliError("nothing was deleted: --yes answers the question") from error
    if not agreed:
        raise CliError("nothing was deleted")


def _described(client: Client, dataset: str, version: int) -> str:
    """What would be deleted, as a question names it."""
    held = next((one for one in client.datasets.usage().datasets if one.dataset == dataset), None)
    chosen = [] if held is None else [
        one for one in held.versions if version in (0, one.version)
    ]  # fmt: skip
    samples = sum(one.samples for one in chosen)
    layers = sum(len(one.layers) for one in chosen)
    uploads = sum(one.upload_bytes for one in chosen)
    what = f"{dataset}@{version}" if version else f"{dataset} with {len(chosen)} versions"
    told = [f"{samples:,} samples"]
    told += [f"uploads of {size(uploads)}"] if uploads else []
    told += [f"{layers} caption layers"] if layers else []
    return f"{what} ({', '.join(told)})"


def _lines(path: Path) -> list[str]:
    text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _deletion(found: Deletion) -> RenderableType:
    left = (("layers", found.layers), ("exports made before", found.exports),
            ("models trained on it, which stay", found.models))  # fmt: skip
    return stack(
        sentence(
            bold(", ".join(found.versions) or found.dataset),
            f" deleted: {found.samples:,} samples, {size(found.bytes_freed)} freed",
        ),
        *(f"  {what}: {', '.join(names)}" for what, names in left if names),
    )


def _usage(found: StorageUsage) -> RenderableType:
    columns = map(number, ("samples", "own", "shared", "uploads", "layers", "exports"))
    shown = table("version", "state", *columns, rows=[
        (
            f"{dataset.dataset}@{each.version}" + (" *" if each.in_use else ""), each.state,
            f"{each.samples:,}", size(each.own_bytes), size(each.shared_bytes),
            size(each.upload_bytes), size(sum(layer.bytes for layer in each.layers)),
            f"{each.exports:,}",
        )
        for dataset in found.datasets
        for each in dataset.versions
    ])  # fmt: skip
    limit = found.quota.storage_bytes
    most = "no limit" if limit is None else f"of {size(limit)}"
    return stack(
        shown,
        "* the version in use",
        *(
            f"{dataset.dataset}: {size(dataset.bytes)}, {size(dataset.own_bytes)} in no other "
            "dataset"
            for dataset in found.datasets
            if dataset.bytes
        ),
        f"stored: {size(found.bytes)} of shards, {size(found.upload_bytes)} of uploads, "
        f"{size(found.layer_bytes)} of layers",
        f"quota: {size(found.quota.storage_bytes_used)} used, {most}; it counts a shared shard in "
        "every version",
    )


def _garbage(found: Garbage) -> RenderableType:
    said = "deleted" if found.collected else "found"
    lines = [
        f"{said} {one.dataset}@{one.version}, abandoned: {size(one.bytes)}"
        for one in found.abandoned
    ]
    lines.append(f"{said} {_objects(found.objects)} of deleted or replaced data")
    if found.unowned is not None:
        lines.append(f"{said} {_objects(found.unowned)} of no team")
    if found.young:
        lines.append(f"left {found.young:,} objects that are not an hour old")
    if not found.collected:
        lines.append("nothing was deleted: `vila2 datasets gc --yes` deletes what was found")
    return stack(*lines)


def _objects(counted: Unreferenced) -> str:
    return f"{counted.objects:,} objects ({size(counted.bytes)})"
