"""The report as one self-contained HTML page: no script, no external request, light and dark."""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined

from vila2.evaluation.report import charts, paper, tables
from vila2.evaluation.report.findings import HOW_TO_READ, control_shows, gained
from vila2.evaluation.report.model import Benchmark, Example, Round, RunReport, Trained
from vila2.evaluation.report.summary import summary
from vila2.evaluation.report.word_diff import Piece, word_diff
from vila2.evaluation.report.wording import duration, points, signed

_PIXELATED_BELOW = 128  # images this small are enlarged pixel by pixel, not blurred


def render_html(report: RunReport) -> str:
    """Return the page. Raises `ImportError` when matplotlib is not installed.

    Every text of the report is escaped: captions come from a model and alt-texts from the web.
    """
    environment = Environment(
        loader=PackageLoader("vila2.evaluation.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        points=points, signed=signed, number=lambda value: f"{value:,}", duration=duration
    )
    rounds = [*report.main_rounds, *report.controls]
    gains = gained(report)
    return environment.get_template("page.html").render(
        report=report,
        rounds=rounds,
        summary=summary(report),
        how_to_read=HOW_TO_READ,
        control_shows=lambda control: control_shows(control, gains),
        scores_plot=charts.scores_plot(report, rounds),
        losses_plot=charts.losses_plot(report),
        captions_plot=charts.captions_plot(rounds),
        trends_plot=charts.trends_plot(report),
        metric_titles=tables.METRIC_TITLES,
        metric_rows=tables.metrics_table(rounds),
        claim_titles=tables.CLAIM_TITLES,
        claim_tables=tables.claims_tables(rounds),
        trends=tables.trends_table(report),
        layers=tables.layers_table(report),
        paper=paper,
        unscored=lambda held: _unscored(report, held),
        scored_by=lambda held: _scored_by(report, held),
        pixelated=_pixelated,
        changes=_changes,
    )


def _unscored(report: RunReport, rounds: Sequence[Round]) -> bool:
    """Whether a score of the table is missing."""
    names = {benchmark.name for benchmark in report.benchmarks}
    return any(held.macro is None or names - set(held.scores) for held in rounds)


def _scored_by(report: RunReport, trained: Sequence[Trained]) -> list[Benchmark]:
    """The benchmarks on which one of the models was evaluated."""
    return [held for held in report.benchmarks if any(held.name in one.scores for one in trained)]


def _changes(example: Example) -> list[tuple[str, list[Piece]]]:
    """Each caption by name, with what it changes of the one before, the first of the original."""
    found, before = [], example.original
    for name, caption in example.captions.items():
        found.append((name, word_diff(before, caption)))
        before = caption
    return found


def _pixelated(example: Example) -> bool:
    return max(example.size) < _PIXELATED_BELOW
