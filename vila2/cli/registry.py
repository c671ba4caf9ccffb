"""`vila2 registry`: models, where they come from, how good they are, and what is in production."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from vila2.api.training import PromotionIn, Requirement
from vila2.cli import terminal
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected

app = typer.Typer(
    no_args_is_help=True,
    help="""
The model registry. A model begins as `candidate` and is promoted to `staging`, then to
`production`; each time it must pass the gate: its weights are those that were trained, it loads in
the serving version of transformers without any code of ours, it answers the golden questions as
the trainer's did, and the evaluations that are asked for reach their thresholds.
""",
)
console = terminal.console()
ModelName = Annotated[str, typer.Argument(help="A model's name, as `vila2 registry list` tells.")]


@app.command("list")
def list_models(
    stage: Annotated[
        str, typer.Option(help="Only candidate, staging, production or archived.")
    ] = "",
    line: Annotated[str, typer.Option(help="Only of this line.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Models, oldest first."""
    table = Table("model", "stage", "line", "parameters", "from", "job")
    with connected(workspace, url, key) as client:
        for model in client.training.models(stage=stage, line=line):
            table.add_row(
                model.name, model.stage, model.line, f"{model.parameters:,}", model.parent,
                model.job,
            )  # fmt: skip
        console.print(table)


@app.command("show")
def show(
    model: ModelName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """A model's digest, data, scores, where it serves, and every decision about it."""
    with connected(workspace, url, key) as client:
        held = client.training.model_details(model)
        serving = client.training.serving(model)
        line = f", line {held.line}" if held.line else ""
        console.print(f"[bold]{held.name}[/]: {held.stage}{line}")
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
        for change in client.training.stage_changes(model):
            at = time.strftime("%Y-%m-%d %H:%M", time.gmtime(change.at))
            said = f": {change.reason}" if change.reason else ""
            console.print(
                f"  {at} {change.action} {change.before} -> {change.after} by {change.by}: "
                f"{change.state}{said}",
                markup=False,
            )


@app.command("card")
def card(
    model: ModelName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """The model's card: Markdown with the header that the Hugging Face hub reads."""
    with connected(workspace, url, key) as client:
        print(client.training.model_card(model), end="")


@app.command("promote")
def promote(
    model: ModelName,
    to: Annotated[Literal["staging", "production"], typer.Option(help="The stage to reach.")],
    line: Annotated[
        str, typer.Option(help="Which production it is for; each line has one model there.")
    ] = "default",
    require: Annotated[
        list[str] | None,
        typer.Option(
            help="BENCHMARK>=MINIMUM, or BENCHMARK:low>=MINIMUM for the interval's low end."
        ),
    ] = None,
    note: Annotated[str, typer.Option(help="Kept with the decision.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Move a model on if it passes the gate; else everything stays and the reason is told.

    vila2 registry promote MODEL --to production --require 'scenes:low>=0.4'
    """
    requirements = [_requirement(text) for text in require or []]
    body = PromotionIn(stage=to, line=line, require=requirements, note=note)
    with connected(workspace, url, key) as client:
        change = client.training.promote(model, body)
        with console.status(f"checking {model}"):
            while change.state == "checking":
                time.sleep(0.3)
                change = client.training.stage_change(change.id)
        if change.state == "refused":
            raise CliError(f"{model} stays {change.before}: {change.reason}")
        after = f", in place of {change.replaced}" if change.replaced else ""
        console.print(f"{model} is in {change.after} (line {change.line}){after}")


@app.command("rollback")
def rollback(
    reason: Annotated[str, typer.Option(help="Why; kept with the decision.")],
    line: Annotated[str, typer.Option(help="The line.")] = "default",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Put the model back into production that the present one replaced."""
    with connected(workspace, url, key) as client:
        change = client.training.rollback_line(line, reason)
        console.print(f"{change.model} is in production again, {change.replaced} is archived")


@app.command("retire")
def retire(
    model: ModelName,
    reason: Annotated[str, typer.Option(help="Why; kept with the decision.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Archive a model that is not in production; its weights stay."""
    with connected(workspace, url, key) as client:
        client.training.retire(model, reason)
        console.print(f"{model} is archived")


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


def _requirement(text: str) -> Requirement:
    name, sign, minimum = text.partition(">=")
    benchmark, _, bound = name.strip().partition(":")
    try:
        if not sign or bound not in ("", "value", "low"):
            raise ValueError(text)
        return Requirement(
            benchmark=benchmark,
            minimum=float(minimum),
            bound=bound or "value",  # type: ignore[arg-type]
        )
    except ValueError as error:
        raise CliError(
            f"--require {text!r}: write BENCHMARK>=MINIMUM or BENCHMARK:low>=MINIMUM"
        ) from error
