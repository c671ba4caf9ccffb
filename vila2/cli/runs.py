"""`vila2 runs`: start, resume, look at, steer and estimate runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from vila2.api.controller import AmendIn, BranchIn, Comparison, Event, OverruleIn, Run, RunIn
from vila2.api.controller import VerdictKind as Verdict
from vila2.cli.estimates import costs_of, estimate
from vila2.cli.run_progress import eta, follow, rounds_of, wait
from vila2.cli.session import Group, Session
from vila2.cli.workspace import CliError
from vila2.client import Client
from vila2.evaluation.report.model import RunReport
from vila2.evaluation.report.text import render_text
from vila2.recipe import load_recipe
from vila2.terminal import bold, moment, number, say, show, stack, table

app = Group("Runs: one recipe over one dataset, round by round.")
RunName = Annotated[str, typer.Argument(help="Run id or name.")]
Page = Annotated[
    Path | None,
    typer.Option("--report", help="Write the HTML report here; default: RUN.html beside the data."),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Do not follow it; needs a platform that runs on.")
]
Reason = Annotated[str, typer.Option(help="Why; it is kept with the run.")]
app.command("estimate")(estimate)


@app.command("start")
def start(
    session: Session,
    recipe: Annotated[str, typer.Option(help="A recipe file, or a shipped recipe's name.")],
    name: Annotated[str, typer.Option(help="What to call the run.")] = "",
    token: Annotated[str, typer.Option(help="The same token continues the same run.")] = "",
    report: Page = None,
    detach: Detach = False,
) -> None:
    """Start a run and follow it to its report.

    In this process the run works for as long as the command does: stop it with Ctrl-C, and
    `vila2 runs resume RUN` continues.
    """
    body = RunIn(recipe=load_recipe(recipe).model_dump(mode="json"), name=name, token=token)
    with session.client() as client:
        run = client.controller.start_run(body)
        _carry_on(session, client, run, report, detach=detach)


@app.command("resume")
def resume(session: Session, run: RunName, report: Page = None, detach: Detach = False) -> None:
    """Continue a run wherever it stopped, and follow it to its report.

    A paused run goes on, failed rounds are tried again from the step that failed, and a run that
    is at work is only followed.
    """
    with session.client() as client:
        found = client.controller.run(run)
        failed = any(held.state == "failed" for held in found.rounds)
        if found.state == "paused":
            found = client.controller.resume_run(run)
        elif failed and found.state != "cancelled":
            found = client.controller.retry_run(run)
        elif found.state in ("failed", "cancelled"):
            raise CliError(
                f"{found.id} is {found.state} and cannot be resumed: "
                f"`vila2 runs branch {found.id} --round ROUND` starts a run from its rounds"
            )
        _carry_on(session, client, found, report, detach=detach)


@app.command("list")
def list_runs(session: Session) -> None:
    """All runs."""
    with session.client() as client:
        runs = client.controller.runs()
        columns = ("run", "name", "recipe", "state", number("done"), "left", "created (UTC)", "now")
        session.show(runs, lambda: table(*columns, rows=[
            (
                run.id, run.name, f"{run.recipe_name} {run.recipe_hash[:8]}", run.state,
                f"{run.progress.fraction:.0%}", eta(run), moment(run.created_at), run.phase,
            )
            for run in runs
        ]))  # fmt: skip


@app.command("show")
def show_run(
    session: Session,
    run: RunName,
    events: Annotated[
        bool, typer.Option("--events", help="What happened, when, and by whom.")
    ] = False,
    after: Annotated[int, typer.Option(min=0, help="Only events behind this number.")] = 0,
    costs: Annotated[
        bool, typer.Option("--costs", help="What it used, beside the estimate of its recipe.")
    ] = False,
    against: Annotated[str, typer.Option(help="Another run: how recipes and scores differ.")] = "",
) -> None:
    """A run's rounds and scores; or its events, its costs, or its difference from another run."""
    if events + costs + bool(against) > 1:
        raise CliError("give one of --events, --costs and --against")
    with session.client() as client:
        if events or after:
            happened = client.controller.events(run, after=after)
            session.show(happened, lambda: _events(happened))
        elif costs:
            used = client.controller.costs(run)
            session.show(used, lambda: costs_of(used))
        elif against:
            found = client.controller.compare(run, against)
            session.show(found, lambda: _difference(found))
        else:
            held = client.controller.run(run)
            session.show(held, lambda: rounds_of(held))
            if not session.json:
                _print_state(client, held)


@app.command("report")
def report(
    session: Session,
    run: RunName,
    html: Annotated[Path | None, typer.Option(help="Write the page here instead.")] = None,
) -> None:
    """A run's report as far as it is known: on the terminal, as a page, or its figures as JSON."""
    with session.client() as client:
        found = client.controller.run(run)
        if html is not None:
            _write_page(client, found.id, html)
            return
        figures = RunReport.model_validate(client.controller.report(found.id))
        session.show(figures, lambda: render_text(figures))


@app.command("pause")
def pause(session: Session, run: RunName) -> None:
    """Begin nothing new; what is at work goes on to its end."""
    with session.client() as client:
        _print_changed(session, client.controller.pause_run(run))


@app.command("cancel")
def cancel(session: Session, run: RunName) -> None:
    """Stop a run for good; what it made stays, and `vila2 runs branch` can start from it."""
    with session.client() as client:
        _print_changed(session, client.controller.cancel_run(run))


@app.command("overrule")
def overrule(
    session: Session,
    run: RunName,
    round: Annotated[str, typer.Argument(help="The round, such as 'round 1'.")],
    verdict: Annotated[Verdict, typer.Argument(help="Yours.")],
    reason: Reason,
) -> None:
    """Put your verdict in place of a round's; the report shows both."""
    with session.client() as client:
        body = OverruleIn(kind=verdict, reason=reason)
        _print_changed(session, client.controller.overrule(run, round, body))


@app.command("amend")
def amend(
    session: Session,
    run: RunName,
    recipe: Annotated[str, typer.Option(help="A recipe file, or a shipped recipe's name.")],
    reason: Reason = "",
) -> None:
    """Change the recipe for the rounds that have not begun."""
    content = load_recipe(recipe).model_dump(mode="json")
    with session.client() as client:
        body = AmendIn(recipe=content, reason=reason)
        _print_changed(session, client.controller.amend(run, body))


@app.command("branch")
def branch(
    session: Session,
    run: RunName,
    round: Annotated[str, typer.Option(help="The last round that both runs share.")],
    recipe: Annotated[str, typer.Option(help="What it does from there on; else the same.")] = "",
    name: Annotated[str, typer.Option(help="What to call the new run.")] = "",
) -> None:
    """Start a run that shares another's rounds up to one of them."""
    content = load_recipe(recipe).model_dump(mode="json") if recipe else None
    with session.client() as client:
        body = BranchIn(round=round, recipe=content, name=name)
        _print_changed(session, client.controller.branch(run, body))


def finish(client: Client, run: Run, page: Path) -> None:
    """Follow a run to its end, print the report and write its page; raises if it failed."""
    try:
        run = follow(client, run.id)
    except KeyboardInterrupt:
        say(f"\nno longer followed: `vila2 runs resume {run.id}` continues")
        raise typer.Exit(130) from None
    if _print_scores(client, run):
        _write_page(client, run.id, page)
    if run.state == "failed":
        raise CliError(f"the run failed: {run.error}. `vila2 runs resume {run.id}` tries it again")
    if run.state == "paused":
        say(f"the run is paused: `vila2 runs resume {run.id}` continues")


def _carry_on(
    session: Session, client: Client, run: Run, page: Path | None, *, detach: bool
) -> None:
    if detach and not session.is_served:
        raise CliError("--detach needs a platform that runs on: start `vila2 up`, or give --url")
    if detach or session.json:
        _print_changed(session, run if detach else wait(client, run.id))
        return
    say("run ", bold(run.id), f" ({run.name}), recipe hash {run.recipe_hash}")
    finish(client, run, page or session.workspace / f"{run.id}.html")


def _write_page(client: Client, run: str, page: Path) -> None:
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(client.controller.report_html(run))
    say("report: ", bold(str(page)))


def _print_changed(session: Session, run: Run) -> None:
    session.show(run, lambda: f"{run.id} ({run.name}) is {run.state}")


def _print_scores(client: Client, run: Run) -> bool:
    """The report as far as it is known; whether there is any."""
    known = any(held.scores for held in run.rounds)
    if known:
        show(render_text(RunReport.model_validate(client.controller.report(run.id))))
    return known


def _print_state(client: Client, run: Run) -> None:
    """Scores, and why the run has stopped or waits."""
    _print_scores(client, run)
    if run.error:
        say(run.error, style="red")
    if run.trouble:
        say(f"waiting: {run.trouble}", style="yellow")


def _events(events: list[Event]) -> RenderableType:
    return table(
        "#", "when (UTC)", "what", "round", "message", "by",
        rows=[
            (str(e.sequence), moment(e.at), e.kind, e.round, e.message, e.by) for e in events
        ],
    )  # fmt: skip


def _difference(found: Comparison) -> RenderableType:
    """What the recipes say differently, and how the scores differ."""
    recipes = table(
        "recipe", found.ours, found.theirs,
        rows=[(field, str(ours), str(theirs)) for field, (ours, theirs) in found.recipe.items()],
    )  # fmt: skip
    rounds = table(
        "round", number(found.ours), number(found.theirs), number("difference"), "95% interval",
        rows=[
            (
                held.round, _points(held.ours), _points(held.theirs),
                "same model" if held.same_model else _points(held.difference, sign=True),
                "" if held.same_model or held.difference is None
                else f"{_points(held.low, sign=True)} to {_points(held.high, sign=True)}",
            )
            for held in found.rounds
        ],
    )  # fmt: skip
    return stack(recipes if found.recipe else "the recipes are the same", rounds)


def _points(value: float | None, *, sign: bool = False) -> str:
    if value is None:
        return ""
    return f"{100 * value:+.1f}" if sign else f"{100 * value:.1f}"
