"""`vila2 captions import`: import existing captions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vila2.cli.connection.session import Session
from vila2.client.caption_import import import_captions
from vila2.schemas.rest.datasets import CaptionFile, CaptionFileRow
from vila2.system.numbers import counted
from vila2.system.terminal import bold, say


def import_file(
    session: Session,
    dataset: Annotated[
        str, typer.Argument(help="Dataset, or dataset@version, to import captions for.")
    ],
    file: Annotated[
        Path, typer.Argument(help="A .csv, .jsonl, .json or .parquet, or a folder of .txt files.")
    ],
    name: Annotated[str, typer.Option(help="Name of the layer; default: the file's.")] = "",
    key_column: Annotated[
        str, typer.Option(help="Column that identifies the image: key, file name, path or address.")
    ] = "",
    caption_column: Annotated[str, typer.Option(help="Column that holds the captions.")] = "",
) -> None:
    """Import captions that you already have as a sealed layer.

    Each row is matched to a sample by its key, its file name or path, or its address. Samples
    without a caption are quarantined as not-in-import; rows that match no sample are counted and
    shown. Importing the same captions again returns the same layer.
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


def _tell_import(made: CaptionFile) -> None:
    layer = made.layer
    state = "" if layer.state == "sealed" else f", {layer.state}"
    say(bold(layer.id), f"  {layer.name}: captions for {counted(layer.captioned, 'sample')} of "
        f"{layer.dataset}@{layer.version}{state}")  # fmt: skip
    for reason, count in layer.quarantined.items():
        say(f"  {counted(count, 'sample')} without a caption: {reason}")
    say(f"  {counted(made.rows, 'row')}: {made.matched:,} matched")
    for count, why in ((made.empty, "without a caption"), (made.repeated, "with the same again")):
        if count:
            say(f"  {counted(count, 'row')} {why}")
    _tell_rows(made.unmatched, "without a matching sample", made.unmatched_examples)
    _tell_rows(made.ambiguous, "with several matching samples, so none", made.ambiguous_examples)
    if layer.state == "withdrawn":
        say(f"  it was withdrawn; `vila2 captions withdraw {layer.id} --undo` puts it back")
    else:
        say(f"  next: `vila2 captions show {layer.dataset} --layer {layer.id}`")


def _tell_rows(count: int, why: str, examples: list[CaptionFileRow]) -> None:
    if count:
        say(f"  {counted(count, 'row')} {why}:", style="yellow")
        for row in examples:
            say(f"    {row.row}: {row.key}")
        if count > len(examples):
            say(f"    and {count - len(examples):,} more")
