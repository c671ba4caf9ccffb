"""The report as one self-contained HTML page: no script, no external request, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from vila2.evaluation.metrics.captions import CaptionMetrics
from vila2.evaluation.metrics.claims import ClaimMetrics
from vila2.evaluation.report import paper
from vila2.evaluation.report.findings import HOW_TO_READ, findings
from vila2.evaluation.report.model import Example, MacroScore, Round, RunReport, Trained
from vila2.evaluation.report.plots import Curve, DotRow, Mark, curve_panels, dot_panels
from vila2.evaluation.report.trends import Step, trend_panels


def _chair(claims: ClaimMetrics) -> float | None:
    return None if claims.object_precision is None else 1 - claims.object_precision


_PIXELATED_BELOW = 128  # images this small are enlarged pixel by pixel, not blurred
_METRICS: Sequence[tuple[str, str, Callable[[CaptionMetrics], float | None]]] = (
    ("words", "{:.1f}", lambda m: m.words_mean),
    ("± sd", "{:.1f}", lambda m: m.words_sd),
    ("distinct\N{NON-BREAKING HYPHEN}1", "{:.3f}", lambda m: m.distinct_1),
    ("distinct\N{NON-BREAKING HYPHEN}2", "{:.3f}", lambda m: m.distinct_2),
    ("distinct\N{NON-BREAKING HYPHEN}3", "{:.3f}", lambda m: m.distinct_3),
    ("same opener", "{:.1%}", lambda m: m.opener_rate),
    ("same 5 words", "{:.1%}", lambda m: m.prefix_mass),
    ("top-100 prefixes", "{:.1%}", lambda m: m.top_prefix_mass),
    ("alt-text kept", "{:.1%}", lambda m: m.alt_text_retention),
    ("names kept", "{:.1%}", lambda m: m.entity_retention),
    ("duplicates", "{:.1%}", lambda m: m.duplicate_rate),
    ("consistency, nats", "{:.2f}", lambda m: m.consistency),
)
_CLAIMS: Sequence[tuple[str, str, Callable[[ClaimMetrics], float | None]]] = (
    ("captions", "{:,}", lambda m: m.captions),
    ("objects named", "{:,}", lambda m: m.objects),
    ("object precision", "{:.1%}", lambda m: m.object_precision),
    ("object recall", "{:.1%}", lambda m: m.object_recall),
    ("CHAIR, mentions", "{:.1%}", _chair),
    ("CHAIR, captions", "{:.1%}", lambda m: m.chair_s),
    ("claims", "{:,}", lambda m: m.claims or None),
    ("claim precision", "{:.1%}", lambda m: m.claim_precision),
    ("claim recall", "{:.1%}", lambda m: m.claim_recall),
)


def render_html(report: RunReport) -> str:
    """Return the page. Raises `ImportError` when matplotlib is not installed.

    Every text of the report is escaped: captions come from a model and alt-texts from the web.
    """
    environment = Environment(
        loader=PackageLoader("vila2.evaluation", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        points=lambda value: f"{100 * value:z.1f}",
        signed=lambda value: f"{100 * value:+z.1f}".replace("-", "\N{MINUS SIGN}"),
        number=lambda value: f"{value:,}",
        duration=duration,
    )
    rounds = [*report.main_rounds, *report.controls]
    return environment.get_template("template.html").render(
        report=report,
        rounds=rounds,
        findings=findings(report),
        how_to_read=HOW_TO_READ,
        scores_plot=_scores_plot(report, rounds),
        losses_plot=_losses_plot(report),
        captions_plot=_captions_plot(rounds),
        metric_titles=[title for title, _, _ in _METRICS],
        metric_rows=_metrics_table(rounds),
        claim_titles=[title for title, _, _ in _CLAIMS],
        claim_tables=_claims_tables(rounds),
        trends_plot=_trends_plot(report),
        trends=_trends_table(report),
        paper=paper,
        layers=_layers_table(report),
        pixelated=_pixelated,
    )


def duration(seconds: float) -> str:
    """Write a duration for a reader: 42 s, 3 min 20 s, 5 h 2 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _scores_plot(report: RunReport, rounds: Sequence[Round]) -> Markup | None:
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


def _steps(report: RunReport) -> list[Step]:
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


def _trends_plot(report: RunReport) -> Markup | None:
    steps = _steps(report)
    if sum(step.change is not None for step in steps) < 2:
        return None
    description = (
        "Change of the macro score and words per caption by round, for this run and for the"
        " paper's; the table has the figures"
    )
    return Markup(trend_panels(steps, description=description))  # noqa: S704


def _trends_table(report: RunReport) -> list[tuple[int, Step | None, float | None, float | None]]:
    """Round by round: this run's, and the paper's change and words."""
    steps = _steps(report)
    return [
        (
            index,
            steps[index] if index < len(steps) else None,
            paper.CHANGES[index] if index < len(paper.CHANGES) else None,
            paper.WORDS[index] if index < len(paper.WORDS) else None,
        )
        for index in range(max(len(steps), len(paper.WORDS)))
    ]


def _losses_plot(report: RunReport) -> Markup | None:
    stages: dict[str, list[Curve]] = {}
    for trained in (*report.main_rounds, *report.controls, *report.specialists):
        control = isinstance(trained, Round) and trained.kind == "control"
        for stage in trained.stages:
            if stage.losses:
                stages.setdefault(stage.name, []).append(
                    Curve(trained.name, stage.losses, control=control)
                )
    if not stages:
        return None
    description = "Training loss by step, a panel for each stage and a line for each model"
    return Markup(curve_panels(list(stages.items()), description=description))  # noqa: S704


def _captions_plot(rounds: Sequence[Round]) -> Markup | None:
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


def _metrics_table(rounds: Sequence[Round]) -> list[tuple[str, list[str]]]:
    return [
        (round_.name, [_cell(form, value(metrics)) for _, form, value in _METRICS])
        for round_ in rounds
        if (metrics := round_.caption_metrics) is not None
    ]


def _claims_tables(rounds: Sequence[Round]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
    """Caption and rows of each table: within equal words, and in full."""
    budget = next((r.claims.budget for r in rounds if r.claims), 0)
    kinds: Sequence[tuple[str, Callable[[Round], ClaimMetrics | None]]] = (
        (f"Every answer cut to its first {budget} words", lambda r: r.claims),
        ("Answers in full", lambda r: r.claims_whole),
    )
    tables = [
        (
            title,
            [
                (r.name, [_cell(form, value(claims)) for _, form, value in _CLAIMS])
                for r in rounds
                if (claims := of(r)) is not None
            ],
        )
        for title, of in kinds
    ]
    return [(title, rows) for title, rows in tables if rows]


def _cell(form: str, value: float | None) -> str:
    return "–" if value is None else form.format(value)


def _layers_table(report: RunReport) -> list[tuple[str, int, Mapping[str, int]]]:
    trained: list[Trained] = [*report.main_rounds, *report.controls, *report.specialists]
    return [(t.name, t.layer.captioned, t.layer.quarantined) for t in trained if t.layer]


def _pixelated(example: Example) -> bool:
    return max(example.size) < _PIXELATED_BELOW
