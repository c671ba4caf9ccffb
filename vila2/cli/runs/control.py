"""`vila2 runs pause | cancel | overrule | amend | branch`."""

from __future__ import annotations

from typing import Annotated

import typer

from vila2.cli.connection.session import Group, Session
from vila2.cli.runs.tables import ENDED, captioned
from vila2.client.run_commands import branching, finished_rounds
from vila2.recipes.recipe import load_recipe
from vila2.schemas.rest.controller import AmendIn, BranchIn, OverruleIn, Run
from vila2.schemas.rest.controller import VerdictKind as Verdict
from vila2.system.terminal import console, say

RunName = Annotated[str, typer.Argument(help="Run id or name.")]
Reason = Annotated[str, typer.Option(help="Reason, kept with the run.")]


def register(app: Group) -> None:
    """Add the commands to `vila2 runs`."""
    for name, command in (
        ("pause", pause),
        ("cancel", cancel),
        ("overrule", overrule),
        ("amend", amend),
        ("branch", branch),
    ):
        app.command(name)(command)


def pause(session: Session, run: RunName) -> None:
    """Start nothing new; running jobs finish."""
    with session.client() as client:
        print_changed(session, client.controller.pause_run(run))


def cancel(
    session: Session,
    run: RunName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
) -> None:
    """Stop a run permanently. `vila2 runs branch` starts another from its finished rounds.

    On a terminal it says what is lost, and asks. `vila2 runs pause` stops a run for a while.
    """
    with session.client() as client:
        held = client.controller.run(run)
        if not yes and held.state in ("running", "paused", "failed") and console().is_terminal:
            say(_lost(held))
            if not typer.confirm("Cancel it?"):
                raise typer.Exit(1)
        held = client.controller.cancel_run(held.id)
        after = branching(held.id, held.rounds)
        session.show(held, lambda: f"{held.id} ({held.name}) is cancelled: {after}")


def overrule(
    session: Session,
    run: RunName,
    round: Annotated[str, typer.Argument(help="The round, such as 'round 1'.")],
    verdict: Annotated[Verdict, typer.Argument(help="Yours.")],
    reason: Reason,
) -> None:
    """Replace a round's verdict with yours; the report shows both."""
    with session.client() as client:
        body = OverruleIn(kind=verdict, reason=reason)
        print_changed(session, client.controller.overrule(run, round, body))


def amend(
    session: Session,
    run: RunName,
    recipe: Annotated[str, typer.Option(help="A recipe file, or a shipped recipe's name.")],
    reason: Reason = "",
    based_on: Annotated[
        int, typer.Option(help="Number of the recipe that you changed; 0 for the current one.")
    ] = 0,
) -> None:
    """Change the recipe for the rounds that have not started."""
    content = load_recipe(recipe).model_dump(mode="json")
    with session.client() as client:
        number = based_on or client.controller.run(run).recipe_number
        body = AmendIn(recipe=content, based_on=number, reason=reason)
        print_changed(session, client.controller.amend(run, body))


def branch(
    session: Session,
    run: RunName,
    round: Annotated[str, typer.Option(help="The last round that both runs share.")],
    recipe: Annotated[
        str, typer.Option(help="Recipe for the following rounds; default: the same.")
    ] = "",
    name: Annotated[str, typer.Option(help="Name of the new run.")] = "",
) -> None:
    """Start a run that shares another's rounds up to one of them."""
    content = load_recipe(recipe).model_dump(mode="json") if recipe else None
    with session.client() as client:
        body = BranchIn(round=round, recipe=content, name=name)
        print_changed(session, client.controller.branch(run, body))


def print_changed(session: Session, run: Run) -> None:
    """Print a run's new state."""
    session.show(run, lambda: f"{run.id} ({run.name}) is {run.state}")


def _lost(run: Run) -> str:
    """What a cancelled run loses and keeps."""
    active = [held for held in run.rounds if held.state not in ENDED]
    lost = [f"{held.name} ({captioned(held) or held.progress.phase})" for held in active]
    kept = finished_rounds(run.rounds)
    lines = [f"{run.id} ({run.name}) is {run.state}. Cancelling it is final: it cannot be resumed."]
    lines.append(f"lost: {', '.join(lost) or 'nothing that has begun'}")
    lines.append(f"kept: {', '.join(kept) or 'nothing, no round is finished'}")
    return "\n".join(lines)
