"""`vila2 datasets submit`: files, tars in place, and one source as several datasets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.datasets import examples_of, show_version, version_of
from vila2.client import Client
from vila2.client.submission.splits import submit_splits
from vila2.client.submit import Report, register
from vila2.client.submit import submit as submit_dataset
from vila2.data.readers import FORMATS, ReadOptions
from vila2.data.readers.formats import recognised
from vila2.data.splitting.plan import SplitPlan, parse_splits
from vila2.schemas.rest.datasets import Version
from vila2.system.terminal import errors, progress_bar, say, sentence, stack


def submit(
    session: Session,
    path: Annotated[str, typer.Argument(help="Folder or file, or s3://SOURCE/PREFIX.")],
    name: Annotated[str, typer.Option(help="Dataset name; default: the folder's name.")] = "",
    format: Annotated[
        str, typer.Option(help=f"One of {', '.join(FORMATS)}; default: what the path looks like.")
    ] = "",
    shard_samples: Annotated[int, typer.Option(help="Number of samples per shard.", min=1)] = 2000,
    caption_field: Annotated[
        str, typer.Option(help="Column that holds captions (tables of captions, parquet, urls).")
    ] = "",
    image_field: Annotated[
        str, typer.Option(help="Column that holds or names images (tables of captions, parquet).")
    ] = "",
    url_field: Annotated[str, typer.Option(help="Column that holds addresses (urls).")] = "",
    encoding: Annotated[
        str, typer.Option(help="Encoding of texts that do not state it, e.g. cp1252; else UTF-8.")
    ] = "",
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="Split to read, or all, if the files have several; or splits to make, such as "
            "sft=300,test=300."
        ),
    ] = None,
    split_seed: Annotated[int, typer.Option(help="Seed of the choice for splits to make.")] = 0,
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
    conversations.json; `parquet` files or a Hugging Face dataset with the images' bytes or paths;
    `imagefolder` images with metadata.csv or .jsonl; `urls` a .jsonl, .csv or .parquet list that
    the store fetches; `benchmark` an items.jsonl. `s3://SOURCE/PREFIX` registers WebDataset tars
    of a configured source in place. Samples that cannot be admitted are quarantined with a reason
    and counted. Submitting the same data again has no effect, and an interrupted submission
    resumes.

    `--split sft=300,test=300` makes three datasets: NAME-sft of conversations and NAME-test, a
    benchmark, of 300 images each that are chosen by their bytes, and NAME of all others.
    """
    chosen, plan = _splits(split or [], split_seed)
    options = ReadOptions(
        image_field,
        caption_field,
        url_field,
        captionless,
        structure_only=structure_only,
        encoding=encoding,
        split=chosen,
    )
    if plan is not None and (by_store or path.startswith("s3://")):
        raise CliError(
            "splits are made where the files are read, and the store would read them: submit a "
            "local path without --by-store, or leave --split out"
        )
    with session.client() as client:
        before = {held.name: held.latest for held in client.datasets.all()}
        if path.startswith("s3://"):
            versions = [_register(client, path, name, options, licence)]
        else:
            versions = submit_all_shown(
                client,
                Path(path),
                plan,
                name=name or _name_of(Path(path)),
                format=format or _recognised(Path(path)),
                shard_samples=shard_samples,
                options=options,
                source=source,
                licence=licence,
                by_store=by_store,
                again=again,
            )
        _show(session, client, versions)
        for version in versions:
            was = before.get(version.dataset, 0)
            if version.state == "ready" and 0 < was < version.version and not session.json:
                say(
                    f"{version.dataset} now means version {version.version}; it was {was}. To go "
                    f"back: vila2 datasets use {version.dataset}@{was}"
                )
        failed = next((version for version in versions if version.state != "ready"), None)
        if failed is not None:
            raise CliError(failed.error or f"the version is {failed.state}")


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


def submit_all_shown(
    client: Client,
    path: Path,
    plan: SplitPlan | None,
    *,
    name: str,
    format: str,
    shard_samples: int,
    options: ReadOptions,
    source: str,
    licence: str,
    by_store: bool,
    again: bool,
) -> list[Version]:
    """Submit with a progress bar, divided if there is a plan; the rest comes first."""
    if plan is None:
        return [
            submit_shown(
                client, path, name=name, format=format, shard_samples=shard_samples,
                options=options, source=source, licence=licence, by_store=by_store, again=again,
            )
        ]  # fmt: skip
    with _reported(name) as report:
        return submit_splits(
            client, path, plan, name=name, format=format, shard_samples=shard_samples,
            options=options, source=source, licence=licence, again=again, report=report,
        )  # fmt: skip


def _splits(given: Sequence[str], seed: int) -> tuple[str, SplitPlan | None]:
    """The split to read, and those to make: a value with `=` is of the latter."""
    to_make = [value for value in given if "=" in value]
    to_read = [value for value in given if "=" not in value]
    if len(to_read) > 1:
        raise CliError(f"--split names {' and '.join(to_read)}: submit each as its own dataset")
    plan = parse_splits(",".join(to_make), seed=seed) if to_make else None
    if seed and plan is None:
        raise CliError("--split-seed is for splits to make, such as --split sft=300,test=300")
    return "".join(to_read), plan


def _recognised(path: Path) -> str:
    format, why = recognised(path)
    if why:
        errors().print(sentence(f"read as {format}: {why}. --format chooses another"))
    return format


def _show(session: Session, client: Client, versions: Sequence[Version]) -> None:
    if len(versions) == 1:
        show_version(session, client, versions[0])
        return
    rejected = sum(sum(version.rejected.values()) for version in versions)
    samples = sum(version.samples for version in versions)
    session.show(versions, lambda: stack(
        *(version_of(version, examples_of(client, version)) for version in versions),
        f"in all {samples:,} admitted and {rejected:,} quarantined",
    ))  # fmt: skip


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
