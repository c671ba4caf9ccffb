"""`vila2 runs pause|resume|cancel|retry|overrule|amend|branch|compare|events`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, cast

import typer
from rich.table import Table

from vila2.api.controller import AmendIn, BranchIn, OverruleIn, Run, VerdictKind
from vila2.cli import terminal
from vila2.cli.runs import RunName, app
from vila2.cli.workspace import DEFAULT_WORKSPACE, Key, Url, Workspace, connected
from vila2.recipe import load_recipe

__all__ = ["app"]

console = terminal.console()
Reason = Annotated[str, typer.Option(help="Why; it is kept with the run.")]


@app.command("pause")
def pause(
    run: RunName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """Begin nothing new; what is at work goes on to its end."""
    with connected(workspace, url, key) as client:
        _say(client.controller.pause_run(run))


@app.command("resume")
def resume(
    run: RunName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """Go on with a paused run; follow it with `vila2 runs watch`."""
    with connected(workspace, url, key) as client:
        _say(client.controller.resume_run(run))


@app.command("cancel")
def cancel(
    run: RunName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """Stop a run for good; what it made stays."""
    with connected(workspace, url, key) as client:
        _say(client.controller.cancel_run(run))


@app.command("retry")
def retry(
    run: RunName, workspace: Workspace = DEFAULT_WORKSPACE, url: Url = "", key: Key = ""
) -> None:
    """Try failed rounds again, from the step that failed."""
    with connected(workspace, url, key) as client:
        _say(client.controller.retry_run(run))


@app.command("overrule")
def overrule(
    run: RunName,
    round: Annotated[str, typer.Argument(help="The round, such as 'round 1'.")],
    verdict: Annotated[str, typer.Argument(help="improved, no_measurable_change or worse.")],
    reason: Reason,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Put your verdict in place of a round's; the report shows both."""
    body = OverruleIn(kind=cast(VerdictKind, verdict), reason=reason)
    with connected(workspace, url, key) as client:
        _say(client.controller.overrule(run, round, body))


@app.command("amend")
def amend(
    run: RunName,
    recipe: Annotated[str, typer.Option(help="A recipe file, or a shipped recipe's name.")],
    reason: Reason = "",
    based_on: Annotated[
        int, typer.Option(help="Number of the recipe that you changed; 0: the one in force now.")
    ] = 0,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Change the recipe for the rounds that have not begun."""
    content = load_recipe(recipe).model_dump(mode="json")
    with connected(workspace, url, key) as client:
        number = based_on or client.controller.run(run).recipe_number
        body = AmendIn(recipe=content, based_on=number, reason=reason)
        _say(client.controller.amend(run, body))


@app.command("branch")
def branch(
    run: RunName,
    round: Annotated[str, typer.Option(help="The last round that both runs share.")],
    recipe: Annotated[str, typer.Option(help="What it does from there on; else the same.")] = "",
    name: Annotated[str, typer.Option(help="What to call the new run.")] = "",
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Start a run that shares another's rounds up to one of them."""
    content = load_recipe(recipe).model_dump(mode="json") if recipe else None
    with connected(workspace, url, key) as client:
        _say(client.controller.branch(run, BranchIn(round=round, recipe=content, name=name)))


@app.command("compare")
def compare(
    run: RunName,
    other: Annotated[str, typer.Argument(help="The run beside it.")],
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """Two runs: what their recipes say differently, and what came of it."""
    with connected(workspace, url, key) as client:
        found = client.controller.compare(run, other)
    recipes = Table("recipe", found.ours, found.theirs)
    for field, (ours, theirs) in found.recipe.items():
        recipes.add_row(field, str(ours), str(theirs))
    console.print(recipes if found.recipe else "the recipes are the same")
    rounds = Table("round", found.ours, found.theirs, "difference", "95% interval")
    for held in found.rounds:
        measured = held.difference is not None
        rounds.add_row(
            held.round,
            _points(held.ours),
            _points(held.theirs),
            "same model" if held.same_model else _points(held.difference, sign=True),
            f"{_points(held.low, sign=True)} to {_points(held.high, sign=True)}"
            if measured and not held.same_model
            else "",
        )
    console.print(rounds)


@app.command("events")
def events(
    run: RunName,
    after: Annotated[int, typer.Option(min=0, help="Only those behind this number.")] = 0,
    workspace: Workspace = DEFAULT_WORKSPACE,
    url: Url = "",
    key: Key = "",
) -> None:
    """What happened in a run, when, and by whom."""
    with connected(workspace, url, key) as client:
        table = Table("", "when", "what", "round", "", "by")
        for event in client.controller.events(run, after=after):
            when = datetime.fromtimestamp(event.at).strftime("%Y-%m-%d %H:%M:%S")
            table.add_row(
                str(event.sequence), when, event.kind, event.round, event.message, event.by
            )
        console.print(table)


def _say(run: Run) -> None:
    console.print(f"{run.id} ({run.name}) is {run.state}")


def _points(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
