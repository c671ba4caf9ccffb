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
from vila2.data.layers import CAPTIONED, decode_layer_shard
from vila2.data.writers import FORMATS, Captioned
from vila2.data.writers import export as write_export
from vila2.data.writers.card import dataset_card

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
        plan = _Plan(client, dataset, layers, text, keep=quarantined == "original")
        summary = write_export(
            format, plan.samples(), out, shard_size=shard_size, card=plan.card(format)
        )
        console.print(
            f"{summary.samples:,} samples in {summary.files} files, {summary.bytes:,} bytes: "
            f"[bold]{out}[/]"
        )
        for reason, count in plan.without_caption.items():
            verb = "kept with their original text" if plan.keep else "left out"
            console.print(f"  {count:,} {verb}: {reason}")


class _Plan:
    """What goes out: counted from the layer alone, then streamed with the pictures."""

    def __init__(
        self, client: Client, dataset: str, layers: list[Layer], text: str, *, keep: bool
    ) -> None:
        self._client, self._dataset, self._layers, self._text = client, dataset, layers, text
        self.keep = keep
        self._version = client.datasets.version(dataset, layers[0].version if layers else 0)
        self.without_caption: Counter[str] = Counter()
        self._prompts: dict[str, None] = {}
        for held in layers:
            for shard in range(len(held.shards)):
                for row in decode_layer_shard(client.datasets.layer_content(held.id, shard)):
                    self._prompts[row.prompt] = None
                    if row.status != CAPTIONED:
                        self.without_caption[row.reason] += 1

    def samples(self) -> Iterator[Captioned]:
        """Every sample that goes out, with its text and how each caption was made."""
        policy = Assembly.model_validate(
            {
                "policy": self._text,
                "caption_layer": "" if self._text == "original" else "layer",
                "missing": "original",
            }
        )
        version = self._version.version
        for sample, rows in joined(self._client, self._dataset, self._layers, version=version):
            row = rows[0] if rows else None
            caption = row.caption if row is not None and row.status == CAPTIONED else None
            if row is not None and caption is None and not self.keep:
                continue
            assembled = assemble(sample, {"layer": caption}, policy, seed=0, visit=0)
            captions = {self._layers[0].name: row} if row is not None else {}
            yield Captioned(sample=sample, text=assembled.plain, captions=captions)

    def card(self, format: str) -> str:
        """The dataset card."""
        version, count = self._version, self.without_caption
        left_out = {} if self.keep else dict(count)
        held = self._layers[0] if self._layers else None
        return dataset_card(
            dataset=self._dataset,
            version=version.version,
            digest=version.sha256,
            format=format,
            text=self._text,
            exported=version.samples - sum(left_out.values()),
            admitted=version.samples,
            rejected=version.rejected,
            repeated_captions=version.repeated_captions,
            left_out=left_out,
            fallbacks=dict(count) if self.keep else {},
            layer=held.name if held else "",
            captioner=held.captioner if held else "",
            prompts=list(self._prompts),
            captioned=held.captioned if held else 0,
            quarantined=held.quarantined if held else {},
            recipe_hash=held.recipe_hash if held else "",
        )
