"""`vila2 runs`: start, resume, inspect, control and estimate runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import RenderableType

from vila2.cli.connection.session import Group, Session
from vila2.cli.connection.workspace import CliError
from vila2.cli.run_tables import (
    costs_of,
    difference_of,
    estimate_of,
    eta,
    events_of,
    follow,
    rounds_of,
    wait,
)
from vila2.client import Client
from vila2.evaluation.report.model import RunReport
from vila2.evaluation.report.text import render_text
from vila2.recipes.recipe import load_recipe
from vila2.schemas.rest.controller import AmendIn, BranchIn, OverruleIn, Run, RunIn
from vila2.schemas.rest.controller import VerdictKind as Verdict
from vila2.schemas.rest.estimates import DeviceName, EstimateIn
from vila2.system.terminal import bold, moment, say, sentence, show, stack, table

app = Group("Runs: one recipe over one dataset, round by round.")
RunName = Annotated[str, typer.Argument(help="Run id or name.")]
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
Reason = Annotated[str, typer.Option(help="Reason, kept with the run.")]


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


@app.command("estimate")
def estimate(
    session: Session,
    recipe: Annotated[str, typer.Argument(help="A recipe file, or a shipped recipe's name.")],
    captioner: Annotated[
        str, typer.Option(help="Model that captions the sample; default: the newest of the preset.")
    ] = "",
    sample: Annotated[
        int, typer.Option(min=0, max=2000, help="Images to caption; 0 skips the measurement.")
    ] = 200,
    device: Annotated[
        DeviceName | None, typer.Option(help="Device to assume if the preset has never been run.")
    ] = None,
    peak_tflops: Annotated[
        float | None,
        typer.Option(min=0.001, help="Peak TFLOP/s to use instead of the device's own."),
    ] = None,
    mfu: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            max=1,
            help="FLOP utilisation to use instead of the middle of the device's range.",
        ),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0, help="Price of one device for an hour.")
    ] = None,
    captioners: Annotated[
        int, typer.Option(min=1, help="Number of devices that caption at once.")
    ] = 1,
    history: Annotated[bool, typer.Option(help="Use the speed of earlier jobs.")] = True,
) -> None:
    """Estimate what a run of a recipe will take: images, tokens, hours, money. Starts no run.

    A sample of the recipe's own dataset is captioned to measure lengths and speed. Training speed
    is taken from earlier jobs of the preset, or computed from FLOPs for a given device; each line
    says which. The datasets must have been submitted.

        vila2 runs estimate tiny --price 0.05
        vila2 runs estimate vila2-8b --device h100 --price 4.91
    """
    body = EstimateIn(
        recipe=load_recipe(recipe).model_dump(mode="json"),
        captioner=captioner,
        sample=sample,
        device=device,
        peak_tflops=peak_tflops,
        mfu=mfu,
        history=history,
        price_per_hour=price,
        captioners=captioners,
    )
    with session.client() as client:
        made = client.controller.estimate(body)
        session.show(made, lambda: estimate_of(made))


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
            found = client.controller.resume_run(run)
        elif failed and found.state != "cancelled":
            found = client.controller.retry_run(run)
        elif found.state in ("failed", "cancelled"):
            raise CliError(
                f"{found.id} is {found.state} and cannot be resumed: "
                f"`vila2 runs branch {found.id} --round ROUND` starts a run from its rounds"
            )
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
                moment(run.created_at), run.trouble or run.phase,
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
            session.show(held, lambda: stack(rounds_of(held), *_state(client, held)))


@app.command("pause")
def pause(session: Session, run: RunName) -> None:
    """Start nothing new; running jobs finish."""
    with session.client() as client:
        _print_changed(session, client.controller.pause_run(run))


@app.command("cancel")
def cancel(session: Session, run: RunName) -> None:
    """Stop a run permanently; its results are kept, and `vila2 runs branch` can start from them."""
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
    """Replace a round's verdict with yours; the report shows both."""
    with session.client() as client:
        body = OverruleIn(kind=verdict, reason=reason)
        _print_changed(session, client.controller.overrule(run, round, body))


@app.command("amend")
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
        _print_changed(session, client.controller.amend(run, body))


@app.command("branch")
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
        _print_changed(session, client.controller.branch(run, body))


def finish(client: Client, run: Run, page: Path) -> None:
    """Follow a run to its end, print the report and write its page; raises if it failed."""
    try:
        run = follow(client, run.id)
    except KeyboardInterrupt:
        say(f"\nno longer followed: `vila2 runs resume {run.id}` continues")
        raise typer.Exit(130) from None
    if any(held.scores for held in run.rounds):
        show(render_text(_report(client, run.id)))
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


def _state(client: Client, run: Run) -> Iterator[RenderableType]:
    """The report so far, and why the run has stopped or waits."""
    if any(held.scores for held in run.rounds):
        yield render_text(_report(client, run.id))
    if run.error:
        yield sentence(run.error, style="red")
    if run.trouble:
        yield sentence(f"waiting: {run.trouble}", style="yellow")


def _report(client: Client, run: str) -> RunReport:
    return RunReport.model_validate(client.controller.report(run))
