"""Follows a run until it ends: a live table on a terminal, else a line per event."""

from __future__ import annotations

import time

from rich.live import Live

from vila2.cli.runs.tables import captioned, eta, rounds_of
from vila2.client import Client
from vila2.schemas.rest.controller import Run
from vila2.system.terminal import console, say

POLL_SECONDS = 1.0
# Print a line at least this often if nothing happens and the output is not a terminal.
_QUIET_SECONDS = 20.0


def follow(client: Client, run_id: str) -> Run:
    """Show a run until it ends or pauses."""
    return _follow_live(client, run_id) if console().is_terminal else _follow_lines(client, run_id)


def wait(client: Client, run_id: str) -> Run:
    """Wait until a run ends or pauses, without output."""
    while True:
        run = client.controller.run(run_id)
        if run.state != "running":
            return run
        time.sleep(POLL_SECONDS)


def interrupted(run: str, *, served: bool, options: str = "") -> str:
    """What Ctrl-C has stopped and what it has not, and the command that continues.

    `options` are those that every further command needs, such as `-w .demo`.
    """
    resume = f"`vila2 runs resume {run}{options}`"
    if served:
        return (
            f"\nno longer followed; the run continues on the server. {resume} continues to "
            f"follow it, `vila2 runs pause {run}{options}` pauses it"
        )
    return (
        "\nstopped: captioning and training run only while this command does. Finished images and "
        f"the last checkpoint are kept; {resume} continues from there"
    )


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
        so_far = f"[{run.progress.fraction:4.0%} left {eta(run)}]"
        for event in client.controller.events(run_id, after=seen):
            seen, last = event.sequence, time.monotonic()
            what = event.kind.partition(".")[2]
            say(f"{so_far} {event.round or 'run'}: {what}: {event.message}")
        if run.state != "running":
            return run
        if time.monotonic() - last > _QUIET_SECONDS:
            say(f"{so_far} {_doing(run)}")
            last = time.monotonic()
        time.sleep(POLL_SECONDS)


def _doing(run: Run) -> str:
    """The phase of the run, or why it waits; images done of all while it captions."""
    if run.trouble:
        return f"waiting: {run.trouble}"
    counts = [f"{held.name}: {captioned(held)}" for held in run.rounds if captioned(held)]
    return ", ".join(counts) or run.phase
