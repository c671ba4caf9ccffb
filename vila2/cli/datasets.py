"""`vila2 datasets`: versions of datasets and their samples; see `submissions`, `governance` too."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Column

from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.client import Client
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.datasets import CaptionOf, LatestIn, Lineage, RejectedExample, Version
from vila2.system.numbers import counted
from vila2.system.terminal import bold, moment, number, sentence, stack, table

app = Group("Submit datasets, look at them, keep them clean.")


@app.command("list")
def list_datasets(
    session: Session,
    query: Annotated[str, typer.Argument(help="Only datasets whose names contain this.")] = "",
) -> None:
    """List all datasets and the versions in use."""
    with session.client() as client:
        found = client.datasets.all(query)
        versions = {}
        if not session.json:
            versions = {d.name: client.datasets.version(d.name) for d in found if d.latest}
        counts = map(number, ("version", "samples", "shards", "quarantined"))
        columns: tuple[str | Column, ...] = ("dataset", "kind", *counts, "created (UTC)")
        session.show(found, lambda: table(*columns, rows=[
            (dataset.name, dataset.kind, *_counts(versions.get(dataset.name)))
            for dataset in found
        ]))  # fmt: skip


@app.command("show")
def show(
    session: Session,
    name: Annotated[str, typer.Argument(help="Dataset, or dataset@version.")],
    sample: Annotated[str, typer.Argument(help="Key of a sample to show.")] = "",
) -> None:
    """Show one version, by default the one in use: counts, and what was not admitted.

    With a sample's key, show that sample: its image and source, every caption with its origin, and
    every model that was trained on it.
    """
    dataset, number = split_version(name)
    with session.client() as client:
        if sample:
            found = client.datasets.lineage(dataset, number, sample)
            session.show(found, lambda: _lineage(found))
        else:
            show_version(session, client, client.datasets.version(dataset, number))


@app.command("use")
def use(
    session: Session,
    name: Annotated[str, typer.Argument(help="dataset@version.")],
    reason: Annotated[str, typer.Option(help="Reason, kept in the history.")] = "",
) -> None:
    """Make the dataset's bare name refer to this version, to roll back or forward."""
    dataset, number = split_version(name)
    if not number:
        raise CliError("give dataset@version; `vila2 datasets show` shows the version in use")
    with session.client() as client:
        used = client.datasets.use(dataset, LatestIn(version=number, reason=reason))
        session.show(used, lambda: f"{dataset} now means version {number}")


def version_of(version: Version, examples: list[RejectedExample]) -> RenderableType:
    """One line, and a table of rejected samples by reason, each with an example."""
    rejected = sum(version.rejected.values())
    head = sentence(
        bold(f"{version.dataset}@{version.version}"),
        f" {version.state}: {counted(version.samples, 'sample')} in "
        f"{counted(version.shards, 'shard')}, {rejected:,} quarantined, "
        f"{counted(version.repeated_captions, 'repeated caption')}",
    )
    lines: list[RenderableType] = [head]
    lines += [f"  registered in place: {version.source}"] if version.origin else []
    lines += [f"  {version.taken_down:,} taken down since"] if version.taken_down else []
    lines += [f"  {n:,} admitted with a note: {note}" for note, n in version.notes.items()]
    if rejected:
        details = {example.reason: example.detail for example in reversed(examples)}
        reasons = sorted(version.rejected.items(), key=lambda item: -item[1])
        lines.append(table(
            "reason", number("samples"), "for example", title="Not admitted",
            rows=[(reason, f"{n:,}", details.get(reason, "")) for reason, n in reasons],
        ))  # fmt: skip
    return stack(*lines)


def examples_of(client: Client, version: Version) -> list[RejectedExample]:
    """Samples that were not admitted, if any."""
    if not version.rejected:
        return []
    return client.datasets.rejected(version.dataset, version.version)


def split_version(name: str) -> tuple[str, int]:
    """`NAME@VERSION` as its two parts; version 0 if there is none."""
    ref = dataset_ref(name)
    return ref.name, ref.version


def dataset_ref(name: str) -> DatasetRef:
    """`NAME` or `NAME@VERSION`, as given."""
    try:
        return DatasetRef.parse(name)
    except ValueError as error:
        raise CliError(str(error)) from error


def show_version(session: Session, client: Client, version: Version) -> None:
    """Print a version with what was not admitted."""
    session.show(version, lambda: version_of(version, examples_of(client, version)))


def _lineage(found: Lineage) -> RenderableType:
    head = sentence(
        bold(found.key),
        f" of {found.dataset}@{found.version}: {found.width}×{found.height}, "
        f"sha256 {found.sha256}, shard {found.shard} at byte {found.offset:,}",
    )
    return stack(
        head,
        f"  from {found.source}",
        f"  original: {found.caption}",
        *map(_caption_lineage, found.captions),
        f"\nmodels trained on this dataset: {', '.join(found.models) or 'none'}",
    )


def _caption_lineage(made: CaptionOf) -> RenderableType:
    head = sentence(bold(f"\n{made.name}"), f" ({made.layer}, {made.state}) by {made.captioner}")
    text = made.caption if made.status == "captioned" else f"quarantined: {made.reason}"
    score = "" if made.consistency is None else f"consistency {made.consistency:.3f}, "
    likely = "" if made.logprob is None else f"log-probability {made.logprob:.3f}, "
    return stack(
        head,
        f"  {text}",
        f"  prompt {made.prompt_id}, seed {made.seed}, attempt {made.attempt}, temperature "
        f"{made.temperature}, {made.tokens} tokens, {likely}{score}ended by {made.finish_reason}",
        f"  models trained on it: {', '.join(made.models) or 'none'}",
    )


def _counts(version: Version | None) -> tuple[str, ...]:
    if version is None:
        return ("-", "-", "-", "-", "")
    rejected = sum(version.rejected.values())
    counts = (f"{version.samples:,}", f"{version.shards:,}", f"{rejected:,}")
    return (str(version.version), *counts, moment(version.created_at))
