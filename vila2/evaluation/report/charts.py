"""The page's plots, drawn from a report."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from vila2.evaluation.report.model import MacroScore, Round, RunReport
from vila2.evaluation.report.plots import Curve, DotRow, Mark, curve_charts, dot_panels
from vila2.evaluation.report.trends import Step, trend_panels


def scores_plot(report: RunReport, rounds: Sequence[Round]) -> Markup | None:
    """Scores of every round and control with their intervals."""
    scored = [r for r in rounds if r.macro or r.scores]
    if not scored:
        return None
    names = [benchmark.name for benchmark in report.benchmarks]
    rows = [
        DotRow(r.name, r.kind, [_mark(r.macro), *(_mark(r.scores.get(name)) for name in names)])
        for r in scored
    ]
    description = (
        "Scores of every round and control with their intervals; the table has the figures"
    )
    # The SVG is generated here, and matplotlib has escaped its labels.
    panels = ["Macro score", *names]
    return Markup(dot_panels(rows, panels, description=description, least_span=10))  # noqa: S704


def _mark(score: MacroScore | None) -> Mark | None:
    return None if score is None else Mark(100 * score.score, 100 * score.low, 100 * score.high)


def steps_of(report: RunReport) -> list[Step]:
    """The baseline and the self-augmented rounds, in order."""
    return [
        Step(
            r.name,
            Mark(0.0) if r.kind == "baseline" else _change(r),
            r.caption_metrics.words_mean if r.caption_metrics else None,
        )
        for r in report.main_rounds
        if r.kind in ("baseline", "self")
    ]


def _change(round_: Round) -> Mark | None:
    since = round_.since_baseline
    if since is None:
        return None
    return Mark(100 * since.difference, 100 * since.low, 100 * since.high)


def trends_plot(report: RunReport) -> Markup | None:
    """Change of the score and words by round, with the paper's small beside them."""
    steps = steps_of(report)
    if sum(step.change is not None for step in steps) < 2:
        return None
    description = (
        "Change of the macro score and words per caption by round, for this run and for the"
        " paper's; the table has the figures"
    )
    return Markup(trend_panels(steps, description=description))  # noqa: S704


def losses_plot(report: RunReport) -> Markup | None:
    """A small chart for every stage of every model."""
    curves = [
        Curve(trained.name, stage.name, stage.losses)
        for trained in (*report.main_rounds, *report.controls, *report.specialists)
        for stage in trained.stages
        if len(stage.losses) > 1
    ]
    if not curves:
        return None
    description = "Training loss by step, a small chart for each stage of each model"
    return Markup(curve_charts(curves, description=description))  # noqa: S704


def captions_plot(rounds: Sequence[Round]) -> Markup | None:
    """Length and variety of the captions by round."""
    rows = []
    for round_ in rounds:
        metrics = round_.caption_metrics
        if metrics is None:
            continue
        mean, sd, kept = metrics.words_mean, metrics.words_sd, metrics.alt_text_retention
        marks = [
            Mark(mean, max(mean - sd, 0.0), mean + sd),
            Mark(metrics.distinct_2),
            Mark(100 * metrics.opener_rate),
            None if kept is None else Mark(100 * kept),
        ]
        rows.append(DotRow(round_.name, round_.kind, marks))
    if not rows:
        return None
    panels = ["Words (± sd)", "Distinct-2", "Same opener, %", "Alt-text kept, %"]
    description = "Length and variety of the captions by round; the table has the figures"
    return Markup(dot_panels(rows, panels, description=description, from_zero=True))  # noqa: S704
