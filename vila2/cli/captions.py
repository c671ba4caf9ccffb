"""`vila2 captions`: look at layers, and at captions before and after."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from vila2.api.datasets import Layer
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.client import Client
from vila2.data.layers import CaptionRow
from vila2.exporting import joined

app = typer.Typer(no_args_is_help=True, help="Caption layers and what is in them.")
console = Console()
_COUNTS = ("same", "changed", "gained", "lost", "neither", "words_before", "words_after")


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
            if reason and all(row is None or row.reason != reason for row in rows):
                continue
            table.add_row(sample.key, Text(sample.caption), *(_cell(row) for row in rows))
            shown += 1
            if shown == count:
                break
        console.print(table)
        if not shown and reason:
            raise CliError(f"no sample was quarantined for {reason!r}")


@app.command("diff")
def diff(
    before: Annotated[str, typer.Argument(help="Layer, by id or name.")],
    after: Annotated[str, typer.Argument(help="Layer of the same dataset version.")],
    count: Annotated[int, typer.Option(min=0, max=100, help="Examples to show.")] = 10,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """What changed from one layer to another: counts, lengths, examples."""
    with connected(workspace, url, key) as client:
        totals: Counter[str] = Counter()
        table = Table("sample", before, after)
        first: int | None = 0
        while first is not None:
            found = client.datasets.diff_layers(after, before, first=first, examples=count)
            totals.update({name: getattr(found, name) for name in _COUNTS})
            for example in found.examples[: count - table.row_count]:
                table.add_row(example.key, Text(example.before), Text(example.after))
            first = found.next
        words = [
            totals["words_before"] / max(1, totals["same"] + totals["changed"] + totals["lost"]),
            totals["words_after"] / max(1, totals["same"] + totals["changed"] + totals["gained"]),
        ]
        console.print(
            f"{totals['same']:,} the same, {totals['changed']:,} changed, {totals['gained']:,} "
            f"captioned only after, {totals['lost']:,} only before, {totals['neither']:,} in "
            f"neither; words a caption {words[0]:.1f} → {words[1]:.1f}"
        )
        if table.row_count:
            console.print(table)


@app.command("withdraw")
def withdraw(
    layer: Annotated[str, typer.Argument(help="Layer, by id or name.")],
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Roll back: take a sealed layer out of use, so that its name means the one before it."""
    with connected(workspace, url, key) as client:
        held = client.datasets.withdraw_layer(layer, reason)
        console.print(f"[bold]{held.id}[/] is withdrawn; `vila2 captions restore {held.id}` undoes")


@app.command("restore")
def restore(
    layer: Annotated[str, typer.Argument(help="Layer, by id.")],
    reason: Annotated[str, typer.Option(help="Kept in the history.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Put a withdrawn layer back into use."""
    with connected(workspace, url, key) as client:
        console.print(f"[bold]{client.datasets.restore_layer(layer, reason).id}[/] is in use again")


def chosen_layers(client: Client, dataset: str, wanted: list[str]) -> list[Layer]:
    """The layers asked for, or all of the dataset; those of another dataset are an error."""
    if not wanted:
        mine = (held for held in client.datasets.layers() if held.dataset == dataset)
        return [held for held in mine if held.state == "sealed"]
    found = [client.datasets.layer(name) for name in wanted]
    for held in found:
        if held.dataset != dataset:
            raise CliError(f"layer {held.id} belongs to dataset {held.dataset}, not {dataset}")
    return found


def _cell(row: CaptionRow | None) -> Text:
    if row is None:
        return Text("")
    score = "" if row.consistency is None else f"\nconsistency {row.consistency:.2f}"
    if row.reason:
        return Text(f"quarantined: {row.reason}\n{row.caption}{score}", style="yellow")
    return Text(row.caption).append(score, style="dim")
