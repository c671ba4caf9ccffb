"""`vila2 export`: a captioned dataset as files, with a card that says how it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.data.writers import FORMATS
from vila2.exporting import TEXTS, export_dataset

console = Console(soft_wrap=True)


def export(
    dataset: Annotated[str, typer.Argument(help="Dataset, or dataset@version, to export.")],
    out: Annotated[Path, typer.Argument(help="Folder to make; it must not exist yet.")],
    layer: Annotated[str, typer.Option(help="Whose captions go out, if any do.")] = "",
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "webdataset",
    text: Annotated[str, typer.Option(help=f"One of {', '.join(TEXTS)}.")] = "recaption",
    quarantined: Annotated[
        str, typer.Option(help="For samples without a caption: `leave-out` or `original`.")
    ] = "leave-out",
    waive: Annotated[
        str, typer.Option(help="Why a layer that is not sealed goes out; recorded.")
    ] = "",
    shard_size: Annotated[int, typer.Option(help="Samples of one tar or file.", min=1)] = 2000,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Write a dataset with a layer's captions, and a README.md that says how they were made.

    A layer that is not sealed is refused, unless --waive says why: that is recorded at the store
    and stands in the card. Samples without a caption are left out, or keep their original text
    where --quarantined original says so; either way they are counted in the card.
    """
    if quarantined not in ("leave-out", "original"):
        raise CliError("--quarantined is leave-out or original")
    with connected(workspace, url, key) as client, Progress(console=console, transient=True) as bar:
        task = bar.add_task(f"{dataset}: writing", total=None)
        summary, plan = export_dataset(
            client,
            dataset,
            out,
            layer=layer,
            format=format,
            text=text,
            keep_original=quarantined == "original",
            waiver=waive,
            shard_size=shard_size,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )
    console.print(
        f"{summary.samples:,} samples in {summary.files} files, {summary.bytes:,} bytes: "
        f"[bold]{out}[/]"
    )
    for reason, count in plan.without_caption.items():
        verb = "kept with their original text" if plan.keep else "left out"
        console.print(f"  {count:,} {verb}: {reason}")
    if plan.record.waiver:
        console.print(f"  [yellow]the layer is not sealed; waived as {plan.record.id}[/]")
