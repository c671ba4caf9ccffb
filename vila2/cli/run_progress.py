"""Following a run: what each round does, how far it is, and how long it will take."""

from __future__ import annotations

import time

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from vila2.api.controller import Round, Run
from vila2.client import Client
from vila2.terminal import bold, console, say, stack, table

_MARKS = {"done": ("✓", "green"), "failed": ("✗", "red"), "cancelled": ("–", "yellow")}
POLL_SECONDS = 1.0
# A line at least this often when nothing happens and the output is no terminal.
_QUIET_SECONDS = 20.0


def follow(client: Client, run_id: str) -> Run:
    """Show a run until it ends or pauses: a live table on a terminal, else a line per event."""
    return _follow_live(client, run_id) if console().is_terminal else _follow_lines(client, run_id)


def wait(client: Client, run_id: str) -> Run:
    """The same without a word."""
    while True:
        run = client.controller.run(run_id)
        if run.state != "running":
            return run
        time.sleep(POLL_SECONDS)


def _follow_live(client: Client, run_id: str) -> Run:
    run = client.controller.run(run_id)
    with Live(rounds_of(run), console=console(), refresh_per_second=4) as live:
        while run.state == "running":
            time.sleep(POLL_SECONDS)
            run = client.controller.run(run_id)
            live.update(rounds_of(run))
    return run


def _follow_lines(client: Client, run_id: str) -> Run:
    seen, last = 0, 0.0
    while True:
        run = client.controller.run(run_id)
        so_far = f"[{run.progress.fraction:4.0%} eta {eta(run)}]"
        for event in client.controller.events(run_id, after=seen):
            seen, last = event.sequence, time.monotonic()
            what = event.kind.partition(".")[2]
            say(f"{so_far} {event.round or 'run'}: {what}: {event.message}")
        if run.state != "running":
            return run
        if time.monotonic() - last > _QUIET_SECONDS:
            say(f"{so_far} {run.phase}")
            last = time.monotonic()
        time.sleep(POLL_SECONDS)


def eta(run: Run) -> str:
    """Time left as m:ss, or a question mark; a dash for a run that has ended."""
    if run.state in ("finished", "failed", "cancelled"):
        return "-"
    seconds = run.progress.eta_seconds
    return "?" if seconds is None else _minutes(seconds)


def rounds_of(run: Run) -> RenderableType:
    """A run's progress, and a table of its rounds."""
    elapsed = (run.finished_at or time.time()) - run.created_at
    head = Text.assemble(
        bold(f"{run.name} "),
        f"{run.state}  {run.progress.fraction:.0%}  ",
        f"elapsed {_minutes(elapsed)}  left about {eta(run)}",
    )
    bar = ProgressBar(total=1.0, completed=run.progress.fraction, width=60)
    rounds = table(
        "round", "", "doing", "progress", "scores", "verdict",
        rows=[
            (held.name, _mark(held), _doing(held), _bar(held), _scores(held), _verdict(held))
            for held in run.rounds
        ],
        box=None, pad_edge=False,
    )  # fmt: skip
    return stack(head, bar, rounds)


def _mark(held: Round) -> Text:
    return Text(*_MARKS.get(held.state, ("●", "cyan")))


def _doing(held: Round) -> str:
    return held.state if held.state in _MARKS else held.progress.phase or held.state


def _bar(held: Round) -> ProgressBar | str:
    if held.state in _MARKS or not held.progress.total:
        return ""
    return ProgressBar(total=1.0, completed=held.progress.fraction, width=16)


def _scores(held: Round) -> str:
    return " ".join(f"{name} {score['score']:.2f}" for name, score in held.scores.items())


def _verdict(held: Round) -> str | Text:
    if held.error:
        return Text(held.error.splitlines()[0][:60], style="red")
    if not held.verdict:
        return ""
    return f"{held.verdict['kind'].replace('_', ' ')} ({held.verdict['difference']:+.3f})"


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
