"""`vila2 export`: a captioned dataset as files, with a card that says how it was made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from vila2.api.datasets import Layer
from vila2.cli.captions import chosen_layers, joined
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.client import Client
from vila2.data.assembly import Assembly, assemble
from vila2.data.layers import CAPTIONED
from vila2.data.writers import FORMATS, Captioned
from vila2.data.writers import export as write_export

console = Console(soft_wrap=True)
TEXTS = ("recaption", "concat", "original")


def export(
    dataset: Annotated[str, typer.Argument(help="Dataset to export.")],
    out: Annotated[Path, typer.Argument(help="Folder to make; it must not exist yet.")],
    layer: Annotated[str, typer.Option(help="Layer whose captions go out; empty: none.")] = "",
    format: Annotated[str, typer.Option(help=f"One of {', '.join(FORMATS)}.")] = "webdataset",
    text: Annotated[str, typer.Option(help=f"One of {', '.join(TEXTS)}.")] = "recaption",
    quarantined: Annotated[
        str, typer.Option(help="For samples without a caption: `leave-out` or `original`.")
    ] = "leave-out",
    shard_size: Annotated[int, typer.Option(help="Samples of one tar.", min=1)] = 2000,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Write a dataset with a layer's captions, and a README.md that says how they were made.

    Only a sealed layer can be exported. Quarantined samples are left out, or keep their original
    text where --quarantined original says so; either way they are counted in the card.
    """
    if text not in TEXTS or quarantined not in ("leave-out", "original"):
        raise CliError(
            f"--text is one of {', '.join(TEXTS)}; --quarantined is leave-out or original"
        )
    if text != "original" and not layer:
        raise CliError("--layer is needed: `vila2 captions layers` lists them")
    with connected(workspace, url, key) as client:
        layers = chosen_layers(client, dataset, [layer]) if layer else []
        counts: Counter[str] = Counter()
        samples = _captioned(client, dataset, layers, text, quarantined, counts)
        # The card counts what went out, so the samples are gathered before it is written.
        gathered = list(samples)
        card = _card(client, dataset, layers, text, counts)
        summary = write_export(format, gathered, out, shard_size=shard_size, card=card)
        console.print(
            f"{summary.samples:,} samples in {summary.files} files, {summary.bytes:,} bytes: "
            f"[bold]{out}[/]"
        )
        for reason, count in counts.items():
            if reason != "exported":
                console.print(f"  {count:,} {reason}")


def _captioned(
    client: Client,
    dataset: str,
    layers: list[Layer],
    text: str,
    quarantined: str,
    counts: Counter[str],
) -> Iterator[Captioned]:
    policy = Assembly.model_validate(
        {
            "policy": text,
            "caption_layer": "" if text == "original" else "layer",
            "missing": "original",
        }
    )
    for sample, rows in joined(client, dataset, layers):
        row = rows[0] if rows else None
        caption = row.caption if row is not None and row.status == CAPTIONED else None
        if row is not None and caption is None:
            verb = "left out" if quarantined == "leave-out" else "kept with the original text"
            counts[f"{verb} ({row.reason})"] += 1
            if quarantined == "leave-out":
                continue
        counts["exported"] += 1
        assembled = assemble(sample, {"layer": caption}, policy, seed=0, visit=0)
        captions = {layers[0].name: caption} if caption is not None else {}
        yield Captioned(sample=sample, captions=captions, text=assembled.plain)


def _card(
    client: Client, dataset: str, layers: list[Layer], text: str, counts: Counter[str]
) -> str:
    version = client.datasets.version(dataset, layers[0].version if layers else 0)
    lines = [
        f"# {dataset}, version {version.version}",
        "",
        f"- Digest: sha256 {version.sha256}",
        f"- Text: {text}",
        f"- Samples exported: {counts['exported']:,} of {version.samples:,}",
    ]
    lines += [f"- {count:,} {reason}" for reason, count in counts.items() if reason != "exported"]
    lines += [f"- Not admitted: {n:,} {reason}" for reason, n in sorted(version.rejected.items())]
    for held in layers:
        lines += [
            "",
            f"## Captions: {held.name}",
            "",
            f"- Layer: {held.id}, {held.state}, recipe hash {held.recipe_hash}",
            f"- Captioner: {held.captioner}",
            f"- Captioned {held.captioned:,}; quarantined {sum(held.quarantined.values()):,}",
            "",
            "The captions were generated by a model. They may be wrong; the original texts are "
            "kept beside them.",
        ]
    return "\n".join(lines) + "\n"
