"""`vila2 datasets`: submit data and choose between its versions; see also `governance`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType
from rich.table import Column

from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.client import Client
from vila2.client.submit import Report, register
from vila2.client.submit import submit as submit_dataset
from vila2.data.readers import FORMATS, ReadOptions
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest.datasets import CaptionOf, LatestIn, Lineage, RejectedExample, Version
from vila2.system.terminal import bold, moment, number, progress_bar, say, sentence, stack, table

app = Group("Submit datasets, look at them, keep them clean.")


@app.command("submit")
def submit(
    session: Session,
    path: Annotated[str, typer.Argument(help="Folder or file, or s3://SOURCE/PREFIX.")],
    name: Annotated[str, typer.Option(help="Dataset name; default: the folder's name.")] = "",
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "folder",
    shard_samples: Annotated[int, typer.Option(help="Number of samples per shard.", min=1)] = 2000,
    caption_field: Annotated[
        str, typer.Option(help="Column that holds captions (folder, parquet, urls).")
    ] = "",
    image_field: Annotated[
        str, typer.Option(help="Column that holds images (folder, parquet).")
    ] = "",
    url_field: Annotated[str, typer.Option(help="Column that holds addresses (urls).")] = "",
    encoding: Annotated[
        str, typer.Option(help="Encoding of texts that do not state it, e.g. cp1252; else UTF-8.")
    ] = "",
    split: Annotated[
        str, typer.Option(help="Split to read, or all, if the files have several (parquet).")
    ] = "",
    captionless: Annotated[
        bool, typer.Option("--captionless", help="Also admit images without text.")
    ] = False,
    structure_only: Annotated[
        bool,
        typer.Option(
            "--structure-only", help="Check only that image files are complete; do not decode them."
        ),
    ] = False,
    source: Annotated[str, typer.Option(help="Source of the data, for the card.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the data, for the card.")] = "",
    by_store: Annotated[
        bool,
        typer.Option("--by-store", help="Upload the files unchanged and let the store read them."),
    ] = False,
    again: Annotated[
        bool,
        typer.Option("--again", help="Create a new version even if the data was submitted before."),
    ] = False,
) -> None:
    """Check every image and caption, and store the dataset as an immutable version.

    Formats: `folder` images with captions.csv (image,caption), or a .txt or .json beside each, or
    images alone, to be captioned; `webdataset` tars; `img2dataset` its output folder; `llava`
    conversations.json; `parquet` files or a Hugging Face dataset with the images' bytes; `urls` a
    .jsonl, .csv or .parquet list that the store fetches; `benchmark` an items.jsonl.
    `s3://SOURCE/PREFIX` registers WebDataset tars of a configured source in place. Samples that
    cannot be admitted are quarantined with a reason and counted. Submitting the same data again has
    no effect, and an interrupted submission resumes.
    """
    options = ReadOptions(
        image_field,
        caption_field,
        url_field,
        captionless,
        structure_only=structure_only,
        encoding=encoding,
        split=split,
    )
    with session.client() as client:
        before = {held.name: held.latest for held in client.datasets.all()}
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
        _show_version(session, client, version)
        was = before.get(version.dataset, 0)
        if version.state == "ready" and 0 < was < version.version and not session.json:
            say(
                f"{version.dataset} now means version {version.version}; it was {was}. To go back: "
                f"vila2 datasets use {version.dataset}@{was}"
            )
        if version.state != "ready":
            raise CliError(version.error or f"the version is {version.state}")


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
            _show_version(session, client, client.datasets.version(dataset, number))


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
    with _reported(name) as report:
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


def version_of(version: Version, examples: list[RejectedExample]) -> RenderableType:
    """One line, and a table of rejected samples by reason, each with an example."""
    rejected = sum(version.rejected.values())
    head = sentence(
        bold(f"{version.dataset}@{version.version}"),
        f" {version.state}: {version.samples:,} samples in {version.shards} shards, "
        f"{rejected:,} quarantined, {version.repeated_captions:,} repeated captions",
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


def _show_version(session: Session, client: Client, version: Version) -> None:
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


def _register(client: Client, path: str, name: str, options: ReadOptions, licence: str) -> Version:
    origin, _, prefix = path.removeprefix("s3://").partition("/")
    chosen = name or prefix.strip("/").rsplit("/", 1)[-1].lower() or origin
    with _reported(chosen) as report:
        return register(
            client, origin, prefix, name=chosen, options=options, licence=licence, report=report
        )


@contextmanager
def _reported(name: str) -> Iterator[Report]:
    """A progress bar, and the callback that advances it."""
    with progress_bar() as bar:
        task = bar.add_task(name, total=None)
        yield lambda phase, done, total: bar.update(
            task, description=f"{name}: {phase}", completed=done, total=total
        )


def _name_of(path: Path) -> str:
    plain = path.resolve().name.lower().replace(" ", "-")
    for suffix in (".tar", ".parquet", ".jsonl", ".json", ".csv"):
        plain = plain.removesuffix(suffix)
    return plain
