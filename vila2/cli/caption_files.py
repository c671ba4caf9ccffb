"""`vila2 captions import` and `vila2 export`: captions from files, and into files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vila2.cli import captions
from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.client.caption_import import import_captions
from vila2.client.export import TEXTS, ExportPlan
from vila2.client.sidecars import export_sidecars
from vila2.data.writers import FORMATS
from vila2.data.writers.sidecars import FORMAT, Left, SidecarSummary
from vila2.schemas.rest.datasets import CaptionFile, CaptionFileRow
from vila2.system.terminal import bold, progress_bar, say


@captions.app.command("import")
def import_file(
    session: Session,
    dataset: Annotated[str, typer.Argument(help="Dataset, or dataset@version, that is captioned.")],
    file: Annotated[
        Path, typer.Argument(help="A .csv, .jsonl, .json or .parquet, or a folder of .txt files.")
    ],
    name: Annotated[str, typer.Option(help="Name of the layer; default: the file's.")] = "",
    key_column: Annotated[
        str, typer.Option(help="Column that says which image: key, file name, path or address.")
    ] = "",
    caption_column: Annotated[str, typer.Option(help="Column of the captions.")] = "",
) -> None:
    """Make a sealed layer of captions that you have already.

    A row belongs to the sample of its key, of its file name or path, or of its address. Samples
    without a caption are quarantined as not-in-import; rows that match no sample are counted and
    shown. Importing the same captions again finds the same layer.
    """
    with session.client() as client:
        made = import_captions(
            client,
            dataset,
            file,
            name=name,
            key_column=key_column,
            caption_column=caption_column,
        )
    if session.json:
        session.show(made, lambda: "")
        return
    _tell_import(made)


def export(
    session: Session,
    dataset: Annotated[str, typer.Argument(help="Dataset, or dataset@version, to export.")],
    out: Annotated[
        Path, typer.Argument(help="Folder to make; for sidecars the folder of your images.")
    ],
    layer: Annotated[str, typer.Option(help="Whose captions go out, if any do.")] = "",
    format: Annotated[
        str, typer.Option(help=f"One of {', '.join((*FORMATS, FORMAT))}.")
    ] = "webdataset",
    text: Annotated[str, typer.Option(help=f"One of {', '.join(TEXTS)}.")] = "recaption",
    quarantined: Annotated[
        Literal["leave-out", "original"], typer.Option(help="For samples without a caption.")
    ] = "leave-out",
    waive: Annotated[
        str, typer.Option(help="Why a layer that is not sealed goes out; recorded.")
    ] = "",
    shard_size: Annotated[int, typer.Option(help="Samples of one tar or file.", min=1)] = 2000,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Sidecars: replace other texts, kept as .txt.bak."),
    ] = False,
) -> None:
    """Write a dataset with a layer's captions, and a README.md that says how they were made.

    `--format sidecars` writes a .txt beside each of your own images instead, in the folder that you
    submitted, and touches no image. A layer that is not sealed is refused, unless --waive says why:
    that is recorded at the store and in the card. Samples without a caption are left out, or keep
    their original text with `--quarantined original`; either way they are counted.
    """
    if format != FORMAT:
        if overwrite:
            raise CliError(f"--overwrite is for --format {FORMAT}: other exports make a new folder")
        captions.export(
            session, dataset, out, layer, format, text, quarantined, waive, shard_size
        )  # fmt: skip
        return
    with session.client() as client, progress_bar() as bar:
        task = bar.add_task(f"{dataset}: writing", total=None)
        summary, plan = export_sidecars(
            client,
            dataset,
            out,
            layer=layer,
            text=text,
            keep_original=quarantined == "original",
            waiver=waive,
            overwrite=overwrite,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if session.json:
        session.show({"summary": summary, "record": plan.record}, lambda: "")
        return
    _tell_sidecars(out, summary, plan)


def _tell_import(made: CaptionFile) -> None:
    layer = made.layer
    state = "" if layer.state == "sealed" else f", {layer.state}"
    say(bold(layer.id), f"  {layer.name}: captions for {layer.captioned:,} samples of "
        f"{layer.dataset}@{layer.version}{state}")  # fmt: skip
    for reason, count in layer.quarantined.items():
        say(f"  {count:,} samples without a caption: {reason}")
    say(f"  {made.rows:,} rows: {made.matched:,} matched")
    for count, why in ((made.empty, "without a caption"), (made.repeated, "say the same again")):
        if count:
            say(f"  {count:,} rows {why}")
    _tell_rows(made.unmatched, "rows match no sample", made.unmatched_examples)
    _tell_rows(made.ambiguous, "rows match several samples, so none", made.ambiguous_examples)
    if layer.state == "withdrawn":
        say(f"  it was withdrawn; `vila2 captions withdraw {layer.id} --undo` puts it back")
    else:
        say(f"  next: `vila2 captions show {layer.dataset} --layer {layer.id}`")


def _tell_rows(count: int, why: str, examples: list[CaptionFileRow]) -> None:
    if count:
        say(f"  {count:,} {why}:", style="yellow")
        for row in examples:
            say(f"    {row.row}: {row.key}")
        if count > len(examples):
            say(f"    and {count - len(examples):,} more")


def _tell_sidecars(out: Path, summary: SidecarSummary, plan: ExportPlan) -> None:
    say(f"{summary.written:,} captions written beside their images: ", bold(str(out)))
    if summary.unchanged:
        say(f"  {summary.unchanged:,} were there already")
    if summary.replaced:
        say(f"  {summary.replaced:,} replaced another text, which is kept as .txt.bak")
    _tell_left(summary.kept, "hold another text and are kept; --overwrite replaces them")
    _tell_left(summary.missing, "samples have no image in this folder")
    _tell_left(summary.changed, "images are not those that were captioned; submit them again")
    _tell_left(summary.shared, "share their .txt with an image of another caption; rename one")
    _tell_left(summary.extra, "images of the folder have no caption in this export")
    for reason, lost in plan.without_caption.items():
        verb = "kept with their original text" if plan.keep else "left out"
        say(f"  {lost:,} {verb}: {reason}")
    if plan.record.waiver:
        say(f"  the layer is not sealed; waived as {plan.record.id}", style="yellow")


def _tell_left(left: Left, why: str) -> None:
    if left.count:
        say(f"  {left.count:,} {why}:", style="yellow")
        for name in left.examples:
            say(f"    {name}")
        if left.count > len(left.examples):
            say(f"    and {left.count - len(left.examples):,} more")
