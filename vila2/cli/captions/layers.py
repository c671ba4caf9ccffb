"""`vila2 captions`: inspect and compare caption layers."""

from __future__ import annotations

from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.datasets import split_version
from vila2.client import Client
from vila2.client.export import joined
from vila2.client.gallery import Shown, write_gallery
from vila2.data.layers import CaptionRow
from vila2.data.sample import Sample
from vila2.schemas.rest.datasets import DiffExample, Layer
from vila2.system.terminal import moment, number, plain, say, sentence, stack, table

app = Group("Captions: previews, jobs, and layers with what is in them.")
_COUNTS = ("same", "changed", "gained", "lost", "neither", "words_before", "words_after")


@app.command("list")
def list_layers(session: Session) -> None:
    """List all caption layers, oldest first."""
    with session.client() as client:
        found = client.datasets.layers()
        counts = (number("captioned"), number("quarantined"))
        columns = ("layer", "name", "dataset", "captioner", "state", *counts, "created (UTC)")
        session.show(found, lambda: table(*columns, rows=[
            (
                layer.id, layer.name, f"{layer.dataset}@{layer.version}", layer.captioner,
                layer.state, f"{layer.captioned:,}", f"{sum(layer.quarantined.values()):,}",
                moment(layer.created_at),
            )
            for layer in found
        ]))  # fmt: skip


@app.command("show")
def show(
    session: Session,
    dataset: Annotated[str, typer.Argument(help="Dataset, or dataset@version.")],
    layer: Annotated[
        list[str] | None, typer.Option(help="Layer to show; repeat it to compare layers.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, max=500)] = 10,
    reason: Annotated[str, typer.Option(help="Only samples quarantined for this reason.")] = "",
    html: Annotated[
        Path | None, typer.Option(help="Write a page with images and captions to this file.")
    ] = None,
) -> None:
    """Show the original text of each sample and its captions, side by side.

    Without --layer, all sealed layers of the dataset are shown. For a quarantined sample, the
    reason is shown.
    """
    ref, version = split_version(dataset)
    with session.client() as client:
        layers = chosen_layers(client, ref, version, layer or [])
        found = (
            (sample, rows)
            for sample, rows in joined(client, ref, layers, version=version)
            if not reason or any(row is not None and row.reason == reason for row in rows)
        )
        samples = list(islice(found, count))
    session.show(
        [
            {"key": s.key, "original": s.caption, "captions": _by_layer(layers, rows)}
            for s, rows in samples
        ],
        lambda: table(
            "sample", "original", *(f"{held.name}\n{held.id}" for held in layers),
            rows=[(s.key, s.caption, *map(_cell, rows)) for s, rows in samples],
        ),
    )  # fmt: skip
    if html is not None:
        write_gallery(html, dataset, (_shown(layers, s, rows) for s, rows in samples))
        say(f"images and captions: {html}")
    if reason and not samples:
        raise CliError(f"no sample was quarantined for {reason!r}")


@app.command("diff")
def diff(
    session: Session,
    before: Annotated[str, typer.Argument(help="Layer, by id or name.")],
    after: Annotated[str, typer.Argument(help="Layer of the same dataset version.")],
    count: Annotated[int, typer.Option(min=0, max=100, help="Number of examples to show.")] = 10,
) -> None:
    """Show what changed from one layer to another: counts, lengths, examples."""
    totals: Counter[str] = Counter()
    examples: list[DiffExample] = []
    with session.client() as client:
        first: int | None = 0
        while first is not None:
            found = client.datasets.diff_layers(after, before, first=first, examples=count)
            totals.update({name: getattr(found, name) for name in _COUNTS})
            examples += found.examples[: count - len(examples)]
            first = found.next
    session.show(
        {**totals, "examples": examples}, lambda: _difference(before, after, totals, examples)
    )


@app.command("withdraw")
def withdraw(
    session: Session,
    layer: Annotated[str, typer.Argument(help="Layer, by id or name; with --undo, by id.")],
    reason: Annotated[str, typer.Option(help="Reason, kept in the history.")] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Put the layer back into use.")] = False,
) -> None:
    """Take a sealed layer out of use; its name then refers to the previous one."""
    with session.client() as client:
        if undo:
            held = client.datasets.restore_layer(layer, reason)
            session.show(held, lambda: f"{held.id} is in use again")
        else:
            held = client.datasets.withdraw_layer(layer, reason)
            undoing = f"`vila2 captions withdraw {held.id} --undo` puts it back"
            session.show(held, lambda: f"{held.id} is withdrawn; {undoing}")


def chosen_layers(client: Client, dataset: str, version: int, wanted: list[str]) -> list[Layer]:
    """The layers asked for, or all of the dataset; a layer of other samples is an error."""
    if not wanted:
        mine = [held for held in client.datasets.layers() if held.dataset == dataset]
        sealed = [held for held in mine if held.state == "sealed"]
        # Layers of different versions hold different samples, so only the newest version's are
        # shown.
        number = version or max((h.version for h in sealed), default=0)
        return [held for held in sealed if held.version == number]
    found = [client.datasets.layer(name) for name in wanted]
    for held in found:
        if held.dataset != dataset:
            raise CliError(f"layer {held.id} belongs to dataset {held.dataset}, not {dataset}")
        if version not in (0, held.version):
            raise CliError(f"layer {held.id} is of {dataset}@{held.version}, not version {version}")
    return found


def _shown(layers: list[Layer], sample: Sample, rows: list[CaptionRow | None]) -> Shown:
    texts = {"original": sample.caption} if sample.caption else {}
    for layer, row in zip(layers, rows, strict=True):
        if row is not None:
            reason = f"quarantined ({row.reason}): " if row.reason else ""
            texts[f"{layer.name} by {layer.captioner}"] = f"{reason}{row.caption}"
    return Shown(sample.key, sample.image, texts)


def _by_layer(layers: list[Layer], rows: list[CaptionRow | None]) -> dict[str, Any]:
    return {held.id: row for held, row in zip(layers, rows, strict=True)}


def _cell(row: CaptionRow | None) -> Text:
    if row is None:
        return Text("")
    score = "" if row.consistency is None else f"\nconsistency {row.consistency:.2f}"
    if row.reason:
        return sentence(f"quarantined: {row.reason}\n{row.caption}{score}", style="yellow")
    return sentence(row.caption, Text(plain(score), style="dim"))


def _difference(
    before: str, after: str, totals: Counter[str], examples: list[DiffExample]
) -> RenderableType:
    common = totals["same"] + totals["changed"]
    words = [
        totals["words_before"] / max(1, common + totals["lost"]),
        totals["words_after"] / max(1, common + totals["gained"]),
    ]
    counts = (
        f"{totals['same']:,} the same, {totals['changed']:,} changed, {totals['gained']:,} "
        f"captioned only after, {totals['lost']:,} only before, {totals['neither']:,} in "
        f"neither; words a caption {words[0]:.1f} → {words[1]:.1f}"
    )
    rows = [(example.key, example.before, example.after) for example in examples]
    return stack(counts, *([table("sample", before, after, rows=rows)] if rows else []))
