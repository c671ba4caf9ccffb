"""Tables of runs: progress, rounds, events, differences and costs."""

from __future__ import annotations

import time

from rich.console import RenderableType
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.text import Text

from vila2.cli.runs.figures import range_text, short
from vila2.schemas.rest.controller import Comparison, Event, Round, Run
from vila2.schemas.rest.estimates import CostLine, Costs
from vila2.system.numbers import counted
from vila2.system.terminal import bold, dim, duration, moment, number, sentence, stack, table

_MARKS = {"done": ("✓", "green"), "failed": ("✗", "red"), "cancelled": ("–", "yellow")}
# States in which a round stays.
ENDED = frozenset(_MARKS)


def eta(run: Run) -> str:
    """Time left as m:ss, or a question mark; a dash for a run that has ended."""
    if run.state in ("finished", "failed", "cancelled"):
        return "-"
    seconds = run.progress.eta_seconds
    return "?" if seconds is None else duration(seconds)


def rounds_of(run: Run) -> RenderableType:
    """A run's progress, a table of its rounds, and why it waits."""
    elapsed = (run.finished_at or time.time()) - run.created_at
    head = Text.assemble(
        bold(f"{run.name} "),
        f"{run.state}  {run.progress.fraction:.0%}  ",
        f"elapsed {duration(elapsed)}  left about {eta(run)}",
    )
    # A bar without a table would share its line with the following output.
    bar = Padding(ProgressBar(total=1.0, completed=run.progress.fraction, width=60), 0)
    waits = [sentence(f"waiting: {run.trouble}", style="yellow")] if run.trouble else []
    rounds = table(
        "round", "", "doing", "progress", "scores", "verdict",
        rows=[
            (held.name, _mark(held), _doing(held), _bar(held), _scores(held), _verdict(held))
            for held in run.rounds
        ],
    )  # fmt: skip
    return stack(head, bar, rounds, *waits)


def _mark(held: Round) -> Text:
    return Text(*_MARKS.get(held.state, ("●", "cyan")))


def captioned(held: Round) -> str:
    """Images done of all, rate and time left of a round that captions; empty for any other."""
    done, total, left = held.progress.done, held.progress.total, held.progress.eta_seconds
    if held.state != "captioning" or not total:
        return ""
    parts = [f"{done:,} of {total:,} images"]
    if left:
        parts += [f"{(total - done) / left:,.1f}/s", f"left {duration(left)}"]
    return ", ".join(parts)


def _doing(held: Round) -> str:
    if held.state in _MARKS:
        return held.state
    counts, phase = captioned(held), held.progress.phase or held.state
    if counts and phase != "captioning":
        return f"{counts}; {phase}"
    return f"captioning {counts}" if counts else phase


def _bar(held: Round) -> ProgressBar | str:
    if held.state in _MARKS or not held.progress.total:
        return ""
    return ProgressBar(total=1.0, completed=held.progress.fraction, width=16)


def _scores(held: Round) -> str:
    return " ".join(f"{name} {score['score']:.2f}" for name, score in held.scores.items())


def _verdict(held: Round) -> str | Text:
    if held.error:
        return Text(held.error.splitlines()[0], style="red")
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


def costs_of(found: Costs) -> RenderableType:
    """What a run has used, by round and kind of work, beside the newest estimate of its recipe."""
    lines = table(
        "round", "work", "state",
        *map(number, ("images", "tokens", "hours", "expected hours")), "against it",
        rows=[
            (
                line.round, f"{line.what} {line.work}".strip(), line.state,
                short(line.images), "" if line.tokens is None else short(line.tokens),
                short(line.hours), range_text(line.expected.hours if line.expected else None),
                _judged(line),
            )
            for line in found.lines
        ],
    )  # fmt: skip
    money = "" if found.money is None else f", {found.money:,.2f} in money"
    used = (
        f"{counted(found.images, 'image')} and {counted(found.tokens, 'token')} captioned in "
        f"{short(found.captioning_hours)} h; jobs: {short(found.gpu_hours)} GPU-hours, "
        f"{short(found.process_hours)} process-hours{money}"
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
