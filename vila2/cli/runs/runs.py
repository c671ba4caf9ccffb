"""`vila2 runs`: start, resume and inspect runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.runs import control, estimate
from vila2.cli.runs.control import RunName, print_changed
from vila2.cli.runs.follow import follow, interrupted, wait
from vila2.cli.runs.tables import costs_of, difference_of, eta, events_of, rounds_of
from vila2.client import Client
from vila2.client.run_commands import continuing
from vila2.evaluation.report.model import RunReport
from vila2.evaluation.report.text import render_text
from vila2.recipes.recipe import load_recipe
from vila2.schemas.rest.controller import Run, RunIn
from vila2.system.terminal import bold, moment, say, sentence, show, stack, table

app = Group("Runs: one recipe over one dataset, round by round.")
Page = Annotated[
    Path | None,
    typer.Option(
        "--html", help="Write the report as a page to this file; default: RUN.html beside the data."
    ),
]
Detach = Annotated[
    bool,
    typer.Option(
        "--detach", help="Return at once instead of following the run; needs a running server."
    ),
]


@app.command("start")
def start(
    session: Session,
    recipe: Annotated[str, typer.Option(help="A recipe file, or a shipped recipe's name.")],
    name: Annotated[str, typer.Option(help="Name of the run.")] = "",
    token: Annotated[
        str, typer.Option(help="Idempotency token: the same token continues the same run.")
    ] = "",
    html: Page = None,
    detach: Detach = False,
) -> None:
    """Start a run and follow it to its report.

    Without a server the run works only while the command does. Stop it with Ctrl-C; `vila2 runs
    resume RUN` continues it.
    """
    body = RunIn(recipe=load_recipe(recipe).model_dump(mode="json"), name=name)
    with session.client() as client:
        run = client.controller.start_run(body, token)
        _carry_on(session, client, run, html, detach=detach)


@app.command("resume")
def resume(session: Session, run: RunName, html: Page = None, detach: Detach = False) -> None:
    """Continue a run from where it stopped, and follow it to its report.

    A paused run is resumed, failed rounds are retried from the step that failed, and a run that is
    in progress is only followed.
    """
    with session.client() as client:
        found = client.controller.run(run)
        failed = any(held.state == "failed" for held in found.rounds)
        if found.state == "paused":
            found = client.controller.resume_run(found.id)
        elif failed and found.state != "cancelled":
            found = client.controller.retry_run(found.id)
        elif found.state in ("failed", "cancelled"):
            after = continuing(found.id, found.state, found.rounds)
            raise CliError(f"{found.id} is {found.state} and cannot be resumed: {after}")
        _carry_on(session, client, found, html, detach=detach)


@app.command("list")
def list_runs(session: Session) -> None:
    """List all runs."""
    with session.client() as client:
        runs = client.controller.runs()
        columns = ("run", "name", "recipe", "state", "created (UTC)", "now")
        session.show(runs, lambda: table(*columns, rows=[
            (
                run.id, run.name, f"{run.recipe_name} {run.recipe_hash[:8]}",
                f"{run.state} {run.progress.fraction:.0%}\nleft {eta(run)}",
                moment(run.created_at), _now(session, run),
            )
            for run in runs
        ]))  # fmt: skip


@app.command("show")
def show_run(
    session: Session,
    run: RunName,
    report: Annotated[bool, typer.Option("--report", help="Show only its report.")] = False,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as a page to this file.")
    ] = None,
    costs: Annotated[
        bool, typer.Option("--costs", help="Show what it used, beside the estimate of its recipe.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Show its events: what happened, when, and by whom.")
    ] = False,
    after: Annotated[int, typer.Option(min=0, help="Only events after this number.")] = 0,
    against: Annotated[str, typer.Option(help="Compare recipes and scores with this run.")] = "",
) -> None:
    """Show a run's rounds and its report so far, or one other view of it."""
    if bool(report) + bool(html) + costs + events + bool(against) > 1:
        raise CliError("give one of --report, --html, --costs, --events and --against")
    with session.client() as client:
        if html is not None:
            _write_page(client, run, html)
        elif report:
            figures = _report(client, run)
            session.show(figures, lambda: render_text(figures))
        elif costs:
            used = client.controller.costs(run)
            session.show(used, lambda: costs_of(used))
        elif events or after:
            happened = client.controller.events(run, after=after)
            session.show(happened, lambda: events_of(happened))
        elif against:
            found = client.controller.compare(run, against)
            session.show(found, lambda: difference_of(found))
        else:
            held = client.controller.run(run)
            session.show(held, lambda: stack(rounds_of(held), *_state(session, client, held)))


def finish(client: Client, run: Run, page: Path, *, served: bool, options: str = "") -> None:
    """Follow a run to its end, print the report and write its page; raises if it failed.

    `served`: the run continues without this command. `options` are those that every further command
    needs, such as ` -w .demo`.
    """
    try:
        run = follow(client, run.id)
    except KeyboardInterrupt:
        say(interrupted(run.id, served=served, options=options))
        raise typer.Exit(130) from None
    if any(held.scores for held in run.rounds):
        show(render_text(_report(client, run.id)))
        _write_page(client, run.id, page)
    after = continuing(run.id, run.state, run.rounds)
    if run.state == "failed":
        raise CliError(f"the run failed: {run.error}. {after}")
    if run.state != "finished":
        say(f"the run is {run.state}: {after}")


def _carry_on(
    session: Session, client: Client, run: Run, page: Path | None, *, detach: bool
) -> None:
    if detach and not session.is_served:
        raise CliError("--detach needs a platform that runs on: start `vila2 up`, or give --url")
    if detach or session.json:
        print_changed(session, run if detach else wait(client, run.id))
        return
    say("run ", bold(run.id), f" ({run.name}), recipe hash {run.recipe_hash}")
    page = page or session.workspace / f"{run.id}.html"
    finish(client, run, page, served=session.is_served, options=session.options)


def _write_page(client: Client, run: str, page: Path) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(client.controller.report_html(run))
    say("report: ", bold(str(page)))


def _now(session: Session, run: Run) -> str:
    """What a run does at the moment, why it waits, or the command that continues it."""
    if run.state == "running" and not session.is_served:
        return f"stands still: continue with\nvila2 runs resume {run.id}"
    return run.trouble or run.phase


def _state(session: Session, client: Client, run: Run) -> Iterator[RenderableType]:
    """The report so far, why the run has stopped, and the command that continues it."""
    if any(held.scores for held in run.rounds):
        yield render_text(_report(client, run.id))
    if run.error:
        yield sentence(run.error, style="red")
    if run.state == "running" and not session.is_served:
        yield f"no process carries it on: `vila2 runs resume {run.id}{session.options}` does"
    elif run.state in ("paused", "failed", "cancelled"):
        yield continuing(run.id, run.state, run.rounds)


def _report(client: Client, run: str) -> RunReport:
    return RunReport.model_validate(client.controller.report(run))


# After `start` and `resume`, so that the help lists those first.
app.command("estimate")(estimate.estimate)
control.register(app)
