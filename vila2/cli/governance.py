"""`vila2 datasets audit|lineage|takedown|takedowns|history`: what is in the data, and what left."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vila2.api.datasets import Audit, AuditIn, Takedown, TakedownIn
from vila2.cli.datasets import app, dataset_ref, split_version
from vila2.cli.progress import progress_bar
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected

__all__ = ["app"]

console = Console()


@app.command("audit")
def audit(
    name: Annotated[str, typer.Argument(help="Dataset, or dataset@version.")],
    against: Annotated[
        list[str] | None, typer.Option(help="Benchmark to hold it against; default: all.")
    ] = None,
    max_distance: Annotated[
        int, typer.Option(min=0, max=15, help="Bits of 64 that may differ.")
    ] = 7,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Find pictures that look alike, and pictures of benchmarks among the training data.

    A picture of a benchmark in the training data makes its score worthless: take it out, or use
    another benchmark. Pictures are compared by perceptual hash, which survives another size or
    compression; up to 7 bits of difference every pair is found.
    """
    dataset, number = split_version(name)
    benchmarks = None if against is None else [dataset_ref(one) for one in against]
    asked = AuditIn(benchmarks=benchmarks, max_distance=max_distance)
    with connected(workspace, url, key) as client:
        found = client.datasets.start_audit(dataset, number, asked)
        with progress_bar(console) as bar:
            task = bar.add_task(f"{dataset}: hashing", total=None)
            while found.state == "running":
                time.sleep(0.3)
                found = client.datasets.audit(dataset, number)
                total = max(found.progress.total, found.progress.done)
                bar.update(task, completed=found.progress.done, total=total)
        if found.state == "failed":
            raise CliError(f"the audit failed: {found.error}")
        _print_audit(found)


def _print_audit(found: Audit) -> None:
    console.print(
        f"[bold]{found.dataset}@{found.version}[/]: {found.near_duplicates:,} of "
        f"{found.samples:,} pictures are near-duplicates of another, in {found.clusters:,} groups "
        f"(at most {found.max_distance} of 64 bits differ)"
    )
    if found.uncompared:
        console.print(
            f"  {found.uncompared:,} look like thousands of others (blank pages?) and were not "
            "compared"
        )
    if found.examples:
        table = Table("picture", "looks like", "bits", title="Near-duplicates, for example")
        for pair in found.examples[:10]:
            table.add_row(pair.key, pair.other, str(pair.distance))
        console.print(table)
    if found.contamination:
        table = Table("benchmark", "pictures", "here too", "look alike", "for example")
        for held in found.contamination:
            shown = ", ".join(f"{p.key} = {p.other} ({p.distance})" for p in held.examples[:3])
            table.add_row(
                held.benchmark, f"{held.pictures:,}", f"{held.exact:,}", f"{held.near:,}", shown
            )
        console.print(table)
    else:
        console.print("  there is no benchmark to hold it against")


@app.command("lineage")
def lineage(
    name: Annotated[str, typer.Argument(help="Dataset, or dataset@version.")],
    sample: Annotated[str, typer.Argument(help="Key of the sample.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """One sample: its picture and source, every caption with how it was made, every model."""
    dataset, number = split_version(name)
    with connected(workspace, url, key) as client:
        found = client.datasets.lineage(dataset, number, sample)
        console.print(
            f"[bold]{found.key}[/] of {found.dataset}@{found.version}: {found.width}×{found.height}"
            f", sha256 {found.sha256}, shard {found.shard} at byte {found.offset:,}"
        )
        console.print(f"  from {found.source}")
        console.print(f"  original: {found.caption}", markup=False)
        for made in found.captions:
            console.print(
                f"\n[bold]{made.name}[/] ({made.layer}, {made.state}) by {made.captioner}"
            )
            text = made.caption if made.status == "captioned" else f"quarantined: {made.reason}"
            console.print(f"  {text}", markup=False)
            score = "" if made.consistency is None else f"consistency {made.consistency:.3f}, "
            console.print(
                f"  prompt {made.prompt_id}, seed {made.seed}, attempt {made.attempt}, temperature "
                f"{made.temperature}, {made.tokens} tokens, log-probability {made.logprob:.3f}, "
                f"{score}ended by {made.finish_reason}",
                markup=False,
            )
            console.print(f"  models trained on it: {', '.join(made.models) or 'none'}")
        console.print(f"\nmodels trained on this dataset: {', '.join(found.models) or 'none'}")


@app.command("takedown")
def takedown(
    name: Annotated[str, typer.Argument(help="Dataset or dataset@version; else --sha256.")] = "",
    sample: Annotated[str, typer.Argument(help="Key of the sample.")] = "",
    reason: Annotated[str, typer.Option(help="Why; kept in the record.")] = "",
    requested_by: Annotated[str, typer.Option(help="Who asked for it; kept in the record.")] = "",
    sha256: Annotated[str, typer.Option(help="Digest of the picture, instead of a sample.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Take a picture out of every version and layer, for good; it is not taken in again.

    The record tells what was changed, and which exports and models were made before. This cannot be
    undone.
    """
    if not reason or not requested_by:
        raise CliError("give --reason and --requested-by: they are kept in the record")
    if not yes and not typer.confirm("Take the picture out of all versions and layers for good?"):
        raise CliError("nothing was taken down")
    body = TakedownIn(
        sha256=sha256, dataset=name, key=sample, reason=reason, requested_by=requested_by
    )
    with connected(workspace, url, key) as client:
        found = client.datasets.take_down(body)
        with progress_bar(console) as bar:
            task = bar.add_task("searching shards", total=None)
            while found.state == "running":
                time.sleep(0.3)
                found = client.datasets.takedown(found.id)
                bar.update(task, completed=found.progress.done)
        if found.state == "failed":
            raise CliError(f"the take-down failed and can be asked for again: {found.error}")
        _print_takedown(found)


@app.command("takedowns")
def takedowns(workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "") -> None:
    """The records of all take-downs."""
    with connected(workspace, url, key) as client:
        for found in client.datasets.takedowns():
            _print_takedown(found)


def _print_takedown(found: Takedown) -> None:
    console.print(
        f"[bold]{found.id}[/] {found.state} {_time(found.created_at)}: {found.reason} "
        f"(asked for by {found.requested_by})"
    )
    console.print(f"  picture sha256 {found.sha256}")
    console.print(f"  {found.samples:,} samples out of {', '.join(found.versions) or 'no version'}")
    console.print(f"  {found.captions:,} captions out of {', '.join(found.layers) or 'no layer'}")
    for what, names in (
        ("exports made before", found.exports),
        ("models trained on it", found.models),
        ("not in the store's reach", found.left_in_place),
    ):
        if names:
            console.print(f"  [yellow]{what}:[/] {', '.join(names)}")


@app.command("history")
def history(
    workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "", count: int = 50
) -> None:
    """Versions chosen, layers withdrawn and restored: when, why, and by which key."""
    with connected(workspace, url, key) as client:
        table = Table("when", "what", "of", "why", "key")
        for entry in client.datasets.history(count):
            table.add_row(_time(entry.at), entry.action, entry.subject, entry.detail, entry.by_key)
        console.print(table)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
