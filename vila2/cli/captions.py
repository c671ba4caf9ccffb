"""`vila2 captions`: look at layers, and at captions before and after."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vila2.api.datasets import Layer
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.client import Client
from vila2.data.layers import CaptionRow, decode_layer_shard
from vila2.data.sample import Sample
from vila2.data.shards import read_shard

app = typer.Typer(no_args_is_help=True, help="Caption layers and what is in them.")
console = Console()


@app.command("layers")
def layers(workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "") -> None:
    """All caption layers, oldest first."""
    with connected(workspace, url, key) as client:
        columns = ("name", "dataset", "captioner", "state", "captioned", "quarantined")
        table = Table(Column("layer", no_wrap=True), *columns)
        for layer in client.datasets.layers():
            table.add_row(
                layer.id,
                layer.name,
                f"{layer.dataset}@{layer.version}",
                layer.captioner,
                layer.state,
                f"{layer.captioned:,}",
                f"{sum(layer.quarantined.values()):,}",
            )
        console.print(table)


@app.command("show")
def show(
    dataset: Annotated[str, typer.Argument(help="Dataset whose captions to show.")],
    layer: Annotated[list[str] | None, typer.Option(help="Layer; repeat it to compare.")] = None,
    count: Annotated[int, typer.Option(min=1, max=500)] = 10,
    reason: Annotated[str, typer.Option(help="Only samples quarantined for this reason.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """The original text of each sample and its captions, side by side.

    Without --layer, all layers of the dataset are shown. A quarantined sample says why.
    """
    with connected(workspace, url, key) as client:
        held = chosen_layers(client, dataset, layer or [])
        table = Table("sample", "original", *(f"{h.name}\n[dim]{h.id}[/]" for h in held))
        shown = 0
        for sample, rows in joined(client, dataset, held):
            if reason and all(row.reason != reason for row in rows):
                continue
            table.add_row(sample.key, Text(sample.caption), *(_cell(row) for row in rows))
            shown += 1
            if shown == count:
                break
        console.print(table)
        if not shown and reason:
            raise CliError(f"no sample was quarantined for {reason!r}")


def chosen_layers(client: Client, dataset: str, wanted: list[str]) -> list[Layer]:
    """The layers asked for, or all of the dataset; those of another dataset are an error."""
    if not wanted:
        return [held for held in client.datasets.layers() if held.dataset == dataset]
    found = [client.datasets.layer(name) for name in wanted]
    for held in found:
        if held.dataset != dataset:
            raise CliError(f"layer {held.id} belongs to dataset {held.dataset}, not {dataset}")
    return found


def joined(
    client: Client, dataset: str, layers: list[Layer], *, version: int = 0
) -> Iterator[tuple[Sample, list[CaptionRow]]]:
    """Every sample with its row of each layer, shard by shard; only sealed layers are read."""
    versions = {held.version for held in layers} or {version}
    if len(versions) > 1:
        raise CliError("the layers are of different versions of the dataset: show one at a time")
    number = versions.pop()
    for shard in itertools.count():
        shards = client.datasets.shards(dataset, number)
        if shard >= len(shards):
            return
        samples = read_shard(client.datasets.shard_content(dataset, number, shard))
        columns = [
            decode_layer_shard(client.datasets.layer_content(held.id, shard)) for held in layers
        ]
        for row, sample in enumerate(samples):
            yield sample, [column[row] for column in columns]


def _cell(row: CaptionRow) -> Text:
    if row.reason:
        return Text(f"quarantined: {row.reason}\n{row.caption}", style="yellow")
    return Text(row.caption)
