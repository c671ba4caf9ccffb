"""`vila2 export`: a dataset with its captions, as a new folder or beside the images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from vila2.cli.connection.session import Session
from vila2.cli.connection.workspace import CliError
from vila2.client.export import TEXTS, ExportPlan, export_dataset
from vila2.client.sidecars import export_sidecars
from vila2.data.writers import FORMATS
from vila2.data.writers.export import ExportSummary
from vila2.data.writers.sidecars import FORMAT, Left, SidecarSummary
from vila2.system.numbers import counted
from vila2.system.terminal import bold, progress_bar, say


def export(
    session: Session,
    dataset: Annotated[str, typer.Argument(help="Dataset, or dataset@version, to export.")],
    out: Annotated[
        Path, typer.Argument(help="Folder to create; for sidecars, the folder of your images.")
    ],
    layer: Annotated[str, typer.Option(help="Layer whose captions are exported.")] = "",
    format: Annotated[
        str, typer.Option(help=f"One of {', '.join((*FORMATS, FORMAT))}.")
    ] = "webdataset",
    text: Annotated[str, typer.Option(help=f"One of {', '.join(TEXTS)}.")] = "recaption",
    quarantined: Annotated[
        Literal["leave-out", "original"],
        typer.Option(help="What to do with samples that have no caption."),
    ] = "leave-out",
    waive: Annotated[
        str, typer.Option(help="Reason to export a layer that is not sealed; it is recorded.")
    ] = "",
    shard_size: Annotated[int, typer.Option(help="Samples per tar or file.", min=1)] = 2000,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Sidecars: replace different texts and keep them as .txt.bak."
        ),
    ] = False,
) -> None:
    """Write a dataset with a layer's captions, and a README.md that says how they were made.

    `--format sidecars` instead writes a .txt beside each of your own images, in the folder that you
    submitted; images are not changed. A layer that is not sealed is refused unless `--waive` gives
    a reason, which is recorded at the store and in the card. Samples without a caption are left
    out, or keep their original text with `--quarantined original`; either way they are counted.
    """
    beside = format == FORMAT
    if overwrite and not beside:
        raise CliError(f"--overwrite is for --format {FORMAT}: other exports make a new folder")
    summary: ExportSummary | SidecarSummary
    with session.client() as client, progress_bar() as bar:
        task = bar.add_task(f"{dataset}: writing", total=None)

        def report(done: int, total: int | None) -> None:
            bar.update(task, completed=done, total=total)

        keep = quarantined == "original"
        if beside:
            summary, plan = export_sidecars(
                client, dataset, out, layer=layer, text=text, keep_original=keep, waiver=waive,
                overwrite=overwrite, report=report,
            )  # fmt: skip
        else:
            summary, plan = export_dataset(
                client, dataset, out, layer=layer, format=format, text=text, keep_original=keep,
                waiver=waive, shard_size=shard_size, report=report,
            )  # fmt: skip
    if session.json:
        session.show({"summary": summary, "record": plan.record}, lambda: "")
        return
    if isinstance(summary, SidecarSummary):
        _tell_sidecars(out, summary)
    else:
        say(f"{counted(summary.samples, 'sample')} in {counted(summary.files, 'file')}, "
            f"{summary.bytes:,} bytes: ",
            bold(str(out)))  # fmt: skip
        if summary.markers:
            say(f"  {summary.markers:,} with a marker such as <image> in the text, written as "
                "< image>")  # fmt: skip
    _tell_plan(plan)


def _tell_plan(plan: ExportPlan) -> None:
    for reason, lost in plan.without_caption.items():
        verb = "kept with their original text" if plan.keep else "left out"
        say(f"  {lost:,} {verb}: {reason}")
    if plan.record.waiver:
        say(f"  the layer is not sealed; waived as {plan.record.id}", style="yellow")


def _tell_sidecars(out: Path, summary: SidecarSummary) -> None:
    say(f"{counted(summary.written, 'caption')} written beside images: ", bold(str(out)))
    if summary.unchanged:
        say(f"  {summary.unchanged:,} were there already")
    if summary.replaced:
        say(f"  {summary.replaced:,} replaced another text, which is kept as .txt.bak")
    _tell_left(summary.kept, "other text", "kept; --overwrite replaces them")
    _tell_left(summary.missing, "sample", "without an image in this folder")
    _tell_left(summary.changed, "image", "changed since they were captioned; submit them again")
    _tell_left(summary.shared, "image", "with the .txt of another; rename one of each pair")
    _tell_left(summary.extra, "image", "of the folder without a caption in this export")


def _tell_left(left: Left, noun: str, why: str) -> None:
    if left.count:
        say(f"  {counted(left.count, noun)} {why}:", style="yellow")
        for name in left.examples:
            say(f"    {name}")
        if left.count > len(left.examples):
            say(f"    and {left.count - len(left.examples):,} more")
