"""`vila2 datasets audit|takedown|history`: audits, take-downs and their history."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import RenderableType

from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.datasets import app, dataset_ref, split_version
from vila2.client import Client
from vila2.schemas.rest.datasets import Audit, AuditIn, Takedown, TakedownIn
from vila2.system.numbers import counted
from vila2.system.terminal import bold, moment, number, progress_bar, sentence, stack, table

__all__ = ["app"]


@app.command("audit")
def audit(
    session: Session,
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Datasets, NAME or NAME@N; default: all training datasets."),
    ] = None,
    against: Annotated[
        list[str] | None, typer.Option(help="Benchmark to compare with; default: all benchmarks.")
    ] = None,
    max_distance: Annotated[
        int, typer.Option(min=0, max=15, help="Maximum distance: bits of 64 that may differ.")
    ] = 7,
) -> None:
    """Find near-duplicate images, and benchmark images among the training data.

    A benchmark image in the training data makes the benchmark's score worthless. With `--against`,
    the exit status is 1 if there is one. Images are compared by perceptual hash, which tolerates
    resizing and compression. Up to 7 bits of difference, every pair is found.
    """
    benchmarks = None if against is None else [dataset_ref(one) for one in against]
    body = AuditIn(benchmarks=benchmarks, max_distance=max_distance)
    with session.client() as client:
        training = [d.name for d in client.datasets.all() if d.kind != "benchmark" and d.latest]
        found = [_audited(client, name, body) for name in names or training]
        session.show(found, lambda: stack(*map(_audit, found)))
    leaks = sum(held.exact + held.near for each in found for held in each.contamination)
    if against and leaks:
        raise CliError(
            f"{counted(leaks, 'image')} of {', '.join(against)} in training data: leave them out "
            "with `vila2 datasets exclude`, or evaluate on another benchmark"
        )


@app.command("takedown")
def takedown(
    session: Session,
    name: Annotated[str, typer.Argument(help="Dataset or dataset@version; or give --sha256.")] = "",
    sample: Annotated[str, typer.Argument(help="Key of the sample.")] = "",
    reason: Annotated[str, typer.Option(help="Reason; kept in the record.")] = "",
    requested_by: Annotated[str, typer.Option(help="Who requested it; kept in the record.")] = "",
    sha256: Annotated[str, typer.Option(help="Digest of the image, instead of a sample.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Remove an image permanently from every version and layer; it is never admitted again.

    The record lists what was changed, and which exports and models were made before. This cannot be
    undone.
    """
    if not reason or not requested_by:
        raise CliError("give --reason and --requested-by: they are kept in the record")
    if not yes and not typer.confirm("Take the image out of all versions and layers for good?"):
        raise CliError("nothing was taken down")
    body = TakedownIn(
        sha256=sha256, dataset=name, key=sample, reason=reason, requested_by=requested_by
    )
    with session.client() as client:
        found = client.datasets.take_down(body)
        with progress_bar() as bar:
            task = bar.add_task("searching shards", total=None)
            while found.state == "running":
                time.sleep(0.3)
                found = client.datasets.takedown(found.id)
                bar.update(task, completed=found.progress.done)
        if found.state == "failed":
            raise CliError(f"the take-down failed and can be asked for again: {found.error}")
        session.show(found, lambda: _takedown(found))


@app.command("history")
def history(
    session: Session,
    takedowns: Annotated[
        bool, typer.Option("--takedowns", help="List the records of all take-downs instead.")
    ] = False,
    count: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 50,
) -> None:
    """List changes to the data in use: when, why, and by which key."""
    with session.client() as client:
        if takedowns:
            records = client.datasets.takedowns()[:count]
            session.show(records, lambda: stack(*map(_takedown, records)))
            return
        found = client.datasets.history(count)
        columns = ("when (UTC)", "what", "of", "why", "key")
        session.show(found, lambda: table(*columns, rows=[
            (moment(entry.at), entry.action, entry.subject, entry.detail, entry.by_key)
            for entry in found
        ]))  # fmt: skip


def _audited(client: Client, name: str, body: AuditIn) -> Audit:
    dataset, number = split_version(name)
    found = client.datasets.start_audit(dataset, number, body)
    with progress_bar() as bar:
        task = bar.add_task(f"{dataset}: hashing", total=None)
        while found.state == "running":
            time.sleep(0.3)
            found = client.datasets.audit(dataset, number)
            total = max(found.progress.total, found.progress.done)
            bar.update(task, completed=found.progress.done, total=total)
    if found.state == "failed":
        raise CliError(f"the audit of {name} failed: {found.error}")
    return found


def _audit(found: Audit) -> RenderableType:
    lines: list[RenderableType] = [
        sentence(
            bold(f"{found.dataset}@{found.version}"),
            f": {found.near_duplicates:,} of {found.samples:,} images are near-duplicates of "
            f"another, in {counted(found.clusters, 'group')} (at most {found.max_distance} of 64 "
            "bits differ)",
        )
    ]
    if found.uncompared:
        lines.append(
            f"  {found.uncompared:,} look like thousands of others (blank pages?) and were not "
            "compared"
        )
    if found.examples:
        lines.append(table(
            "image", "looks like", number("bits"), title="Near-duplicates, for example",
            rows=[(pair.key, pair.other, str(pair.distance)) for pair in found.examples[:10]],
        ))  # fmt: skip
    if not found.contamination:
        return stack(*lines, "  there is no benchmark to compare with")
    benchmarks = table(
        "benchmark", *map(number, ("images", "here too", "look alike")), "for example",
        rows=[
            (
                held.benchmark, f"{held.images:,}", f"{held.exact:,}", f"{held.near:,}",
                ", ".join(f"{p.key} = {p.other} ({p.distance})" for p in held.examples[:3]),
            )
            for held in found.contamination
        ],
    )  # fmt: skip
    return stack(*lines, benchmarks)


def _takedown(found: Takedown) -> RenderableType:
    head = sentence(
        bold(found.id),
        f" {found.state} {moment(found.created_at)} UTC: {found.reason} "
        f"(asked for by {found.requested_by})",
    )
    left = (
        ("exports made before", found.exports),
        ("models trained on it", found.models),
        ("not in the store's reach", found.left_in_place),
    )
    return stack(
        head,
        f"  image sha256 {found.sha256}",
        f"  {counted(found.samples, 'sample')} out of {', '.join(found.versions) or 'no version'}",
        f"  {counted(found.captions, 'caption')} out of {', '.join(found.layers) or 'no layer'}",
        *(f"  {what}: {', '.join(names)}" for what, names in left if names),
    )
