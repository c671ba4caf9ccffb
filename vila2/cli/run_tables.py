"""Tables of runs: progress, rounds, events, differences, estimates and costs."""

from __future__ import annotations

import time

from rich.console import RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from vila2.client import Client
from vila2.schemas.rest.controller import Comparison, Event, Round, Run
from vila2.schemas.rest.estimates import CostLine, Costs, Estimate, Line, Range, Total
from vila2.system.numbers import counted
from vila2.system.terminal import (
    bold,
    console,
    dim,
    duration,
    moment,
    number,
    say,
    sentence,
    stack,
    table,
)

_MARKS = {"done": ("✓", "green"), "failed": ("✗", "red"), "cancelled": ("–", "yellow")}
POLL_SECONDS = 1.0
# Print a line at least this often if nothing happens and the output is not a terminal.
_QUIET_SECONDS = 20.0


def follow(client: Client, run_id: str) -> Run:
    """Show a run until it ends or pauses: a live table on a terminal, else a line per event."""
    return _follow_live(client, run_id) if console().is_terminal else _follow_lines(client, run_id)


def wait(client: Client, run_id: str) -> Run:
    """Wait until a run ends or pauses, without output."""
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
    return "?" if seconds is None else duration(seconds)


def rounds_of(run: Run) -> RenderableType:
    """A run's progress, and a table of its rounds."""
    elapsed = (run.finished_at or time.time()) - run.created_at
    head = Text.assemble(
        bold(f"{run.name} "),
        f"{run.state}  {run.progress.fraction:.0%}  ",
        f"elapsed {duration(elapsed)}  left about {eta(run)}",
    )
    # A bar without a table would share its line with the following output.
    bar = Padding(ProgressBar(total=1.0, completed=run.progress.fraction, width=60), 0)
    rounds = table(
        "round", "", "doing", "progress", "scores", "verdict",
        rows=[
            (held.name, _mark(held), _doing(held), _bar(held), _scores(held), _verdict(held))
            for held in run.rounds
        ],
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
    return f"{held.verdict['kind'].replace('_', ' ')} ({held.verdict['difference']:+z.3f})"


def events_of(events: list[Event]) -> RenderableType:
    """A run's events: what happened, when, and who caused it."""
    return table(
        "#", "when (UTC)", "what", "round", "message", "by",
        rows=[
            (str(e.sequence), moment(e.at), e.kind, e.round, e.message, e.by) for e in events
        ],
    )  # fmt: skip


def difference_of(found: Comparison) -> RenderableType:
    """The differences between two runs' recipes and scores."""
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
    return f"{100 * value:+z.1f}" if sign else f"{100 * value:z.1f}"


def estimate_of(made: Estimate) -> RenderableType:
    """Each line with its ranges, and footnotes that give the sources of its numbers."""
    unit = "GPU-hours" if made.unit == "gpu" else "CPU-hours"
    apart = made.total.wall_hours != made.total.hours
    headings = ["images", "tokens", unit, *(["hours"] if apart else [])]
    headings += ["money"] if made.total.money else []
    notes = {text: place for place, text in enumerate(dict.fromkeys(e.says for e in made.lines), 1)}
    rows: list[list[str | Text]] = []
    for line in made.lines:
        known = Text(line.basis, style="green" if line.basis == "measured" else "yellow")
        rows.append([
            line.round if line.certain else f"({line.round})",
            f"{line.what} {line.work}".strip(),
            *_quantities(line.images, line.tokens, line, apart=apart),
            sentence(known, f" [{notes[line.says]}]"),
        ])  # fmt: skip
    total = made.total
    rows.append([
        "all", "(captions)", *_quantities(total.captioned, total.tokens, total, apart=apart), ""
    ])  # fmt: skip
    lines = table(
        "round", "work", *map(number, headings), "known from", rows=rows,
    )  # fmt: skip
    head = sentence(bold(made.recipe_name), f" {made.recipe_hash}  estimate {made.id}")
    sampled = [_sample(made)] if made.sampled else []
    says = [f"[{place}] {text}" for text, place in notes.items()]
    return stack(head, *sampled, lines, *says, *map(dim, [*made.notes, made.ranges]))


def _sample(made: Estimate) -> str:
    held = made.sampled
    assert held is not None
    return (
        f"sample: {counted(held.images, 'image')} by {held.captioner}, {held.captioned} captioned; "
        f"{held.tokens.mid:.1f} tokens each ({held.tokens.low:.1f} to {held.tokens.high:.1f}), "
        f"{held.tokens.mid / held.seconds.mid:,.0f} tokens/s"
    )


def _quantities(
    images: Range, tokens: Range | None, took: Line | Total, *, apart: bool
) -> list[Text]:
    """A row's numbers; `apart`: device-hours and wall-clock hours differ."""
    shown = [images, tokens, took.hours]
    shown += [took.wall_hours] if apart else []
    shown += [took.money] if took.money is not None else []
    return [_range(value) for value in shown]


def costs_of(found: Costs) -> RenderableType:
    """What a run has used, by round and kind of work, beside the newest estimate of its recipe."""
    lines = table(
        "round", "work", "state",
        *map(number, ("images", "tokens", "hours", "expected hours")), "against it",
        rows=[
            (
                line.round, f"{line.what} {line.work}".strip(), line.state,
                _number(line.images), "" if line.tokens is None else _number(line.tokens),
                _number(line.hours), _range(line.expected.hours if line.expected else None),
                _judged(line),
            )
            for line in found.lines
        ],
    )  # fmt: skip
    money = "" if found.money is None else f", {found.money:,.2f} in money"
    used = (
        f"{counted(found.images, 'image')} and {counted(found.tokens, 'token')} captioned in "
        f"{_number(found.captioning_hours)} h; jobs: {_number(found.gpu_hours)} GPU-hours, "
        f"{_number(found.process_hours)} process-hours{money}"
    )
    expected = f"expected by {found.estimate}" if found.estimate else "never estimated"
    return stack(lines, used, dim(expected))


def _judged(line: CostLine) -> Text:
    """Whether the hours of finished work match the estimate."""
    if line.expected is None or line.state not in ("succeeded", "sealed"):
        return Text()
    if line.hours > line.expected.hours.high:
        return Text("more", style="red")
    if line.hours < line.expected.hours.low:
        return Text("less", style="cyan")
    return Text("within", style="green")


def _range(value: Range | None) -> Text:
    if value is None:
        return Text()
    shown = Text(_number(value.mid))
    if value.low != value.high:
        shown.append(f"\n{_number(value.low)}–{_number(value.high)}", "dim")
    return shown


def _number(value: float) -> str:
    """A number in a short form: 0.012, 4.6, 789, 12.3k, 4.5M."""
    for size, mark in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if value >= size:
            return f"{value / (1e3 if mark == 'k' else size):,.3g}{mark}"
    if 0 < value < 0.001:
        return "<0.001"
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"
