"""The report for a terminal: scores by round, what they mean, and captions before and after."""

from __future__ import annotations

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from vila2.evaluation.report.findings import findings
from vila2.evaluation.report.model import Example, MacroScore, Round, RunReport
from vila2.system.terminal import plain

_STYLES = {"improved": "bold green", "no_measurable_change": "dim", "worse": "bold red"}


def render_text(report: RunReport, *, examples: int = 4) -> RenderableType:
    """Return what `rich` prints: a table of rounds × benchmarks, findings, and `examples` captions.

    Captions are untrusted: they are shown as text, never as markup or terminal escapes.
    """
    run = report.run
    heading = Text(plain(f"{run.name} · {run.dataset} · {run.state}"), style="bold")
    parts: list[RenderableType] = [heading, _Scores(report)]
    parts += [Padding(Text(plain(f"• {line}")), (0, 1)) for line in findings(report)]
    parts += [Padding(Text(plain(f"• {note}")), (0, 1)) for note in report.notes]
    for example in report.examples[:examples]:
        parts += [Text(), _captions(example)]
    if len(report.examples) > examples > 0:
        parts.append(
            Text(f"{len(report.examples) - examples} more in the HTML report", style="dim")
        )
    return Group(*parts)


def text_of(report: RunReport, *, width: int = 100, examples: int = 4) -> str:
    """Return the terminal report as plain text of the given width, without colours."""
    console = Console(width=width, color_system=None, force_terminal=False)
    with console.capture() as capture:
        console.print(render_text(report, examples=examples))
    return capture.get()


class _Scores:
    """The table of rounds; intervals are dropped if too wide, since the findings show them too."""

    def __init__(self, report: RunReport) -> None:
        self._report = report

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        whole = _table(self._report, bounds=True)
        needed = Measurement.get(console, options.update(max_width=1000), whole).maximum
        fits = needed <= options.max_width
        yield whole if fits else _table(self._report, bounds=False)


def _table(report: RunReport, *, bounds: bool) -> Table:
    legend = "points of 100" + (", with the interval below" if bounds else "")
    padding = (0, 1 if bounds else 0)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, caption=legend, caption_justify="left")
    table.add_column("round", overflow="fold", min_width=12)
    for benchmark in report.benchmarks:
        name = Text(plain(benchmark.name))
        table.add_column(name, justify="right", overflow="fold", min_width=5)
    table.add_column("macro", justify="right", min_width=5)
    table.add_column("against the best before", min_width=13)
    for round_ in report.main_rounds:
        table.add_row(*_row(report, round_, bounds=bounds))
    if report.controls:
        table.add_section()
    for round_ in report.controls:
        table.add_row(*_row(report, round_, bounds=bounds))
    return table


def _row(report: RunReport, round_: Round, *, bounds: bool) -> list[RenderableType]:
    label = f"{round_.name}\n(control)" if round_.kind == "control" else round_.name
    scores = [round_.scores.get(benchmark.name) for benchmark in report.benchmarks]
    shown = [_score(score, bounds=bounds) for score in (*scores, round_.macro)]
    return [Text(plain(label)), *shown, _verdict(round_, bounds=bounds)]


def _score(score: MacroScore | None, *, bounds: bool) -> Text:
    if score is None:
        return Text("–", style="dim")
    found = Text(f"{100 * score.score:z.1f}")
    if bounds:
        found.append(f"\n{100 * score.low:z.1f}–{100 * score.high:z.1f}", style="dim")
    return found


def _verdict(round_: Round, *, bounds: bool) -> Text:
    if round_.verdict is None:
        return Text("–", style="dim")
    verdict = round_.verdict
    found = Text(verdict.kind.replace("_", " "), style=_STYLES[verdict.kind])
    if bounds:
        interval = f"({100 * verdict.low:+z.1f} to {100 * verdict.high:+z.1f})"
        found = Text.assemble(found, f"\n{100 * verdict.difference:+z.1f} {interval}")
    return found


def _captions(example: Example) -> Table:
    table = Table(title=Text(plain(example.key)), title_justify="left", show_header=False)
    table.box = box.SIMPLE
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("original", Text(plain(example.original)))
    for name, caption in example.captions.items():
        table.add_row(Text(plain(name)), Text(plain(caption)))
    return table
