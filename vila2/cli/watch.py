"""Watching a run: what each round does, how far it is, and how long it will take."""

from __future__ import annotations

import time

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vila2.api.controller import Round, Run
from vila2.client import Client

_MARKS = {"done": "[green]✓[/]", "failed": "[red]✗[/]", "cancelled": "[yellow]–[/]"}
POLL_SECONDS = 1.0


def watch(client: Client, run_id: str, *, console: Console) -> Run:
    """Follow a run to its end: a live table on a terminal, a line per event elsewhere."""
    follow = _follow_live if console.is_terminal else _follow_lines
    return follow(client, run_id, console)


def _follow_live(client: Client, run_id: str, console: Console) -> Run:
    run = client.controller.run(run_id)
    with Live(run_table(run), console=console, refresh_per_second=4) as live:
        while run.state == "running":
            time.sleep(POLL_SECONDS)
            run = client.controller.run(run_id)
            live.update(run_table(run))
    return run


def _follow_lines(client: Client, run_id: str, console: Console) -> Run:
    told = 0
    last = 0.0
    while True:
        run = client.controller.run(run_id)
        for event in client.controller.events(run_id, after=told):
            told = event.sequence
            console.print(
                f"[{_so_far(run)}] {event.round or 'run'}: {event.kind.partition('.')[2]}: "
                f"{event.message}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
            last = time.monotonic()
        if run.state != "running":
            return run
        if time.monotonic() - last > 20:
            console.print(
                f"[{_so_far(run)}] {run.phase}", markup=False, highlight=False, soft_wrap=True
            )
            last = time.monotonic()
        time.sleep(POLL_SECONDS)


def _so_far(run: Run) -> str:
    return f"{run.progress.fraction:4.0%} eta {eta(run)}"


def eta(run: Run) -> str:
    """Time left as m:ss, or a question mark; a dash where nothing is at work any more."""
    if run.state in ("finished", "failed", "cancelled"):
        return "-"
    seconds = run.progress.eta_seconds
    return "?" if seconds is None else f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def run_table(run: Run) -> Group:
    """A run as a table of its rounds."""
    table = Table("", "round", "doing", "progress", "scores", "verdict", box=None, pad_edge=False)
    for held in run.rounds:
        mark = _MARKS.get(held.state, "[cyan]●[/]")
        doing = held.state if held.state in _MARKS else held.progress.phase or held.state
        table.add_row(mark, held.name, doing, _bar(held), _scores(held), _verdict(held))
    elapsed = (run.finished_at or time.time()) - run.created_at
    head = Text.assemble(
        (f"{run.name} ", "bold"),
        f"{run.state}  {run.progress.fraction:.0%}  ",
        f"elapsed {int(elapsed) // 60}:{int(elapsed) % 60:02d}  left about {eta(run)}",
    )
    return Group(head, ProgressBar(total=1.0, completed=run.progress.fraction, width=60), table)


def _bar(held: Round) -> ProgressBar | str:
    if held.state in _MARKS or not held.progress.total:
        return ""
    return ProgressBar(total=1.0, completed=held.progress.fraction, width=16)


def _scores(held: Round) -> str:
    return " ".join(f"{name} {score['score']:.2f}" for name, score in held.scores.items())


def _verdict(held: Round) -> str:
    if held.error:
        return f"[red]{held.error.splitlines()[0][:60]}[/]"
    if not held.verdict:
        return ""
    return f"{held.verdict['kind'].replace('_', ' ')} ({held.verdict['difference']:+.3f})"
