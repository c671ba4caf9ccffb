"""What may be said about a run, in sentences: pure, and the same in every rendering.

A sentence claims no more than the figures carry. What is not significant is said to be so.
"""

from __future__ import annotations

from collections.abc import Sequence

from vila2.evaluation.report.model import MacroScore, Round, RunReport

HOW_TO_READ = (
    "Scores are means over a benchmark's items, times 100. The range beside a score is a 95%"
    " bootstrap interval over the benchmark's pictures, unless the recipe set another confidence.",
    "The macro score is the mean over benchmarks: every benchmark counts alike.",
    "A verdict rests on the paired difference to the best round before it, item by item. Pairing"
    " removes the difficulty of items, so a verdict can be sure although two ranges overlap.",
    "Improved: the interval of that difference lies above zero and the gain is as large as the"
    " recipe asks. Worse: it lies below zero. No measurable change: anything else; it does not mean"
    " that nothing changed.",
    "The intervals cover the choice of pictures. They do not cover the luck of one training run:"
    " before trusting a small difference, train again with other seeds.",
    "Controls are trained without new captions, or with changed ones, to show what else could"
    " explain a gain. They are not rounds of the method.",
)


def findings(report: RunReport) -> list[str]:
    """Say in sentences what the run shows and what it does not."""
    return [*_verdicts(report), *_controls(report), *_quarantine(report)]


def points(score: MacroScore) -> str:
    """Write a score with its range, in points of 100."""
    return f"{100 * score.score:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def and_list(names: Sequence[str]) -> str:
    """Join names as prose: a, b and c."""
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def _verdicts(report: RunReport) -> list[str]:
    judged = [(f"“{r.name}”", r.verdict) for r in report.main_rounds if r.verdict is not None]
    if not judged:
        return ["No round of this run has a verdict yet."]
    by_kind = {
        kind: [name for name, verdict in judged if verdict.kind == kind]
        for kind in ("improved", "no_measurable_change", "worse")
    }
    sentences = []
    for name, verdict in judged:
        if verdict.kind == "improved":
            sentences.append(
                f"{name} improved on the best round before it by {100 * verdict.difference:.1f}"
                f" points of the macro score (interval {100 * verdict.low:+.1f} to"
                f" {100 * verdict.high:+.1f})."
            )
    if not sentences:
        sentences.append("No round improved measurably on the best round before it.")
    if unchanged := by_kind["no_measurable_change"]:
        sentences.append(
            f"{and_list(unchanged)} brought no measurable change: the difference may be chance."
        )
    if worse := by_kind["worse"]:
        sentences.append(f"{and_list(worse)} scored measurably worse than the best before.")
    return sentences


def _controls(report: RunReport) -> list[str]:
    if not report.controls:
        return [
            "This run trained no control, so it cannot tell the effect of new captions from that of"
            " more training."
        ]
    control, best = _best(report.controls), _best(report.main_rounds)
    if control is None or best is None:
        return ["The controls have no scores yet."]
    (control_name, control_score), (best_name, best_score) = control, best
    facts = (
        f"The highest-scoring control, {control_name}, has a macro score of"
        f" {points(control_score)}; the highest-scoring round, {best_name}, has"
        f" {points(best_score)}."
    )
    if best_score.high < control_score.low:
        return [f"{facts} The control did better than the method."]
    if best_score.low > control_score.high:
        return [f"{facts} The ranges are apart: what this control changed does not reach that."]
    return [
        f"{facts} The ranges overlap, so these figures do not show that new captions, rather than"
        " the training itself, made the difference."
    ]


def _best(rounds: Sequence[Round]) -> tuple[str, MacroScore] | None:
    scored = [(f"“{r.name}”", r.macro) for r in rounds if r.macro is not None]
    return max(scored, key=lambda pair: pair[1].score, default=None)


def _quarantine(report: RunReport) -> list[str]:
    layers = [t.layer for t in (*report.rounds, *report.specialists) if t.layer is not None]
    refused = sum(sum(layer.quarantined.values()) for layer in layers)
    total = refused + sum(layer.captioned for layer in layers)
    if not total:
        return []
    return [
        f"The gate quarantined {refused:,} of {total:,} generated captions"
        f" ({refused / total:.1%}); none was replaced by another text."
    ]
