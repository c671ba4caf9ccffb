"""`vila2 runs`: start, list, show, watch, report; `run_operations` has what a person does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from vila2.api.controller import RunIn
from vila2.cli.watch import eta, run_table, watch
from vila2.cli.workspace import DEFAULT_WORKSPACE, CliError, Key, Url, Workspace, connected
from vila2.client import Client
from vila2.evaluation.report.model import RunReport
from vila2.evaluation.report.text import render_text
from vila2.recipe import load_recipe

app = typer.Typer(no_args_is_help=True, help="Runs: one recipe over one dataset, round by round.")
console = Console()
RunName = Annotated[str, typer.Argument(help="Run id or name.")]


@app.command("start")
def start(
    recipe: Annotated[str, typer.Option(help="A recipe file, or a shipped recipe's name.")],
    name: Annotated[str, typer.Option(help="What to call the run.")] = "",
    token: Annotated[str, typer.Option(help="The same token continues the same run.")] = "",
    report: Annotated[Path | None, typer.Option(help="Write the HTML report here.")] = None,
    detach: Annotated[bool, typer.Option(help="Only with --url: do not wait.")] = False,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Start a run and follow it to its report.

    In this process the run works for as long as the command does: stop it with Ctrl-C, and
    `vila2 runs watch` goes on where it was.
    """
    body = RunIn(recipe=load_recipe(recipe).model_dump(mode="json"), name=name)
    with connected(workspace, url, key) as client:
        run = client.controller.start_run(body, token)
        console.print(f"run [bold]{run.id}[/] ({run.name}), recipe hash {run.recipe_hash}")
        if not detach:
            finish(client, run.id, report or workspace / f"{run.id}.html")


@app.command("watch")
def watch_run(
    run: RunName,
    report: Annotated[Path | None, typer.Option(help="Write the HTML report here.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Follow a run to its report; in this process, also carry it on."""
    with connected(workspace, url, key) as client:
        found = client.controller.run(run)
        finish(client, found.id, report or workspace / f"{found.id}.html")


@app.command("list")
def list_runs(workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = "") -> None:
    """All runs."""
    with connected(workspace, url, key) as client:
        table = Table("run", "name", "recipe", "state", "done", "left", "now")
        for run in client.controller.runs():
            table.add_row(
                run.id,
                run.name,
                f"{run.recipe_name} {run.recipe_hash[:8]}",
                run.state,
                f"{run.progress.fraction:.0%}",
                eta(run),
                run.phase,
            )
        console.print(table)


@app.command("show")
def show(
    run: RunName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """A run's rounds, and what is known of its report."""
    with connected(workspace, url, key) as client:
        found = client.controller.run(run)
        console.print(run_table(found))
        if any(held.scores for held in found.rounds):
            console.print(render_text(RunReport.model_validate(client.controller.report(found.id))))
        if found.error:
            console.print(f"[red]{found.error}[/]")
        if found.trouble:
            console.print(f"[yellow]waiting:[/] {found.trouble}")


@app.command("report")
def report(
    run: RunName,
    html: Annotated[Path | None, typer.Option(help="Write the page here.")] = None,
    json: Annotated[Path | None, typer.Option(help="Write the figures here.")] = None,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """A run's report as far as it is known: on the terminal, as a page, as JSON."""
    with connected(workspace, url, key) as client:
        found = client.controller.run(run)
        held = RunReport.model_validate(client.controller.report(found.id))
        if html is None and json is None:
            console.print(render_text(held))
        if html is not None:
            html.parent.mkdir(parents=True, exist_ok=True)
            html.write_text(client.controller.report_html(found.id))
            console.print(f"page: [bold]{html}[/]", soft_wrap=True)
        if json is not None:
            json.parent.mkdir(parents=True, exist_ok=True)
            json.write_text(held.model_dump_json(indent=1) + "\n")
            console.print(f"figures: [bold]{json}[/]", soft_wrap=True)


def finish(client: Client, run_id: str, page: Path) -> None:
    """Watch to the end, print the report and write its page; raises for a run that failed."""
    run = watch(client, run_id, console=console)
    if any(held.scores for held in run.rounds):
        report = RunReport.model_validate(client.controller.report(run_id))
        console.print(render_text(report))
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(client.controller.report_html(run_id))
        console.print(f"\nreport: [bold]{page}[/]", soft_wrap=True)
    if run.state == "failed":
        raise CliError(f"the run failed: {run.error}. `vila2 runs retry` goes on from there")
    if run.state == "paused":
        console.print("the run is paused: `vila2 runs resume` goes on")
