"""The page's tables of caption figures, claims, layers and rounds. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from vila2.evaluation.metrics.captions import CaptionMetrics
from vila2.evaluation.metrics.claims import ClaimMetrics
from vila2.evaluation.report import paper
from vila2.evaluation.report.charts import steps_of
from vila2.evaluation.report.model import Round, RunReport, Trained
from vila2.evaluation.report.trends import Step


def _chair(claims: ClaimMetrics) -> float | None:
    return None if claims.object_precision is None else 1 - claims.object_precision


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


METRIC_TITLES = [title for title, _, _ in _METRICS]
CLAIM_TITLES = [title for title, _, _ in _CLAIMS]


def metrics_table(rounds: Sequence[Round]) -> list[tuple[str, list[str]]]:
    """Each round's caption figures, under `METRIC_TITLES`."""
    return [
        (round_.name, [_cell(form, value(metrics)) for _, form, value in _METRICS])
        for round_ in rounds
        if (metrics := round_.caption_metrics) is not None
    ]


def claims_tables(rounds: Sequence[Round]) -> list[tuple[str, list[tuple[str, list[str]]]]]:
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


def layers_table(report: RunReport) -> list[tuple[str, int, Mapping[str, int]]]:
    """Each layer: whose, captioned, quarantined by reason."""
    trained: list[Trained] = [*report.main_rounds, *report.controls, *report.specialists]
    return [(t.name, t.layer.captioned, t.layer.quarantined) for t in trained if t.layer]


def trends_table(report: RunReport) -> list[tuple[Step, float | None, float | None]]:
    """Round by round: this run's, and the change and words of the paper's round of that number."""
    return [
        (
            step,
            paper.CHANGES[index] if index < len(paper.CHANGES) else None,
            paper.WORDS[index] if index < len(paper.WORDS) else None,
        )
        for index, step in enumerate(steps_of(report))
    ]
