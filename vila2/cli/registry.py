"""`vila2 registry`: models, where they come from, how good they are, and where they serve."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from vila2.cli import terminal
from vila2.cli.workspace import DEFAULT_WORKSPACE, Key, Url, Workspace, connected

app = typer.Typer(
    no_args_is_help=True,
    help="The model registry: where models come from, and how good they are.",
)
console = terminal.console()
ModelName = Annotated[str, typer.Argument(help="A model's name, as `vila2 registry list` tells.")]


@app.command("list")
def list_models(workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "") -> None:
    """Models, oldest first."""
    table = Table("model", "parameters", "from", "job")
    with connected(workspace, url, key) as client:
        for model in client.training.models():
            table.add_row(model.name, f"{model.parameters:,}", model.parent, model.job)
        console.print(table)


@app.command("show")
def show(
    model: ModelName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """A model's digest, data, scores, and the endpoints that answer with it."""
    with connected(workspace, url, key) as client:
        held = client.training.model_details(model)
        serving = client.training.serving(model)
        console.print(f"[bold]{held.name}[/]")
        console.print(f"  sha256 {held.sha256}, {held.parameters:,} parameters")
        run = f" of {held.run}" if held.run else ""
        console.print(f"  from {held.parent} by {held.job}{run}")
        console.print(f"  serves at: {', '.join(serving.endpoints) or 'no endpoint'}")
        for item in held.lineage:
            layers = ", ".join(layer["name"] for layer in item.layers)
            with_layers = f" with {layers}" if layers else ""
            console.print(f"  {item.stage}: {item.dataset}@{item.version}{with_layers}")
        for score in held.evaluations:
            console.print(
                f"  {score.benchmark} ({score.version}): {score.value:.3f} "
                f"({score.interval()}), {score.items} items, {score.job}"
            )


@app.command("card")
def card(
    model: ModelName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """The model's card: Markdown with the header that the Hugging Face hub reads."""
    with connected(workspace, url, key) as client:
        print(client.training.model_card(model), end="")


@app.command("download")
def download(
    model: ModelName,
    folder: Annotated[Path, typer.Argument(help="Where to put its files.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Fetch a model's files and card, each checked by its digest; a broken download goes on."""
    with connected(workspace, url, key) as client:
        held = client.training.download_model(model, folder)
        size = sum(file.bytes for file in held.files)
        console.print(f"{len(held.files)} files, {size:,} bytes in {folder}: sha256 as registered")
