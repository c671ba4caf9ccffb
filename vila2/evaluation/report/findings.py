"""Findings about a run, in sentences. Pure; the same in every rendering.

A sentence claims no more than the figures carry. Insignificant differences are stated as such.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from vila2.evaluation.report.model import MacroScore, Round, RunReport

HOW_TO_READ = (
    "Scores are means over a benchmark's items, times 100. The range beside a score is a 95%"
    " bootstrap interval over the benchmark's images, unless the recipe set another confidence.",
    "The macro score is the mean over benchmarks: every benchmark counts alike. Scores of a round"
    " with several seeds are means over its trainings.",
    "A verdict rests on the paired difference to the best round before it, item by item. Pairing"
    " removes the difficulty of items, so a verdict can be sure although two ranges overlap.",
    "Improved: the interval of that difference lies above zero and the gain is as large as the"
    " recipe asks. Worse: it lies below zero. No measurable change: anything else; it does not mean"
    " that nothing changed.",
    "The intervals cover the choice of images, and the luck of training only where a round was"
    " trained with several seeds: before trusting a small difference, train with other seeds.",
    "Claims are objects that captions state about images whose truth is known, all cut to the"
    " same number of words. CHAIR is the share of mentions, or captions, that name what is absent.",
    "Controls are trained without new captions, or with changed ones, to show what else could"
    " explain a gain. They are not rounds of the method. The best round is the last one that was"
    " judged improved; a control is compared with it item by item.",
)


def findings(report: RunReport) -> list[str]:
    """Return sentences on what the run shows and what it does not."""
    return [
        *_verdicts(report),
        *_seeds(report),
        *_warnings(report),
        *_controls(report),
        *_quarantine(report),
    ]


def points(score: MacroScore) -> str:
    """Write a score with its range, in points of 100."""
    return f"{100 * score.score:z.1f} ({100 * score.low:z.1f} to {100 * score.high:z.1f})"


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
                f"{name} improved on the best round before it by {100 * verdict.difference:z.1f}"
                f" points of the macro score (interval {100 * verdict.low:+z.1f} to"
                f" {100 * verdict.high:+z.1f})."
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


def _seeds(report: RunReport) -> list[str]:
    several = [r for r in report.rounds if r.seeds]
    if report.seed_sd is None or not several:
        return []
    counts = sorted({len(r.seeds) for r in several})
    return [
        f"Trainings that differ in their seed only differ by {100 * report.seed_sd:z.1f} points of"
        f" the macro score (standard deviation, over {len(several)} round(s) of"
        f" {and_list([str(count) for count in counts])} seeds, beyond what chance answers explain)."
    ]


def _warnings(report: RunReport) -> list[str]:
    return [
        f"Warning, {warning.kind.replace('-', ' ')}: in the captions of “{name}”,"
        f" {warning.message}."
        for name, warning in report.warnings
    ]


def _controls(report: RunReport) -> list[str]:
    if not report.controls:
        return [
            "This run trained no control, so it cannot tell the effect of new captions from that of"
            " more training."
        ]
    return [_control(control, gained(report)) for control in report.controls]


def control_shows(control: Round, gained: Collection[str]) -> str:
    """What a control says about the gain, as a clause; empty if it has not been compared."""
    above = control.best_above
    if above is None:
        return ""
    if above.high < 0:
        return "the control did better than the method"
    if above.round not in gained:
        return "that round did not improve, so there is no gain to explain"
    if above.low > 0:
        return "what this control has does not explain the gain"
    return (
        "the two cannot be told apart, so these figures do not show that the method, rather than "
        "what this control has, made the difference"
    )


def gained(report: RunReport) -> set[str]:
    """Rounds of the method that were judged improved."""
    return {r.name for r in report.main_rounds if r.verdict and r.verdict.kind == "improved"}


def _control(control: Round, gained: Collection[str]) -> str:
    name, above = f"the control “{control.name}”", control.best_above
    says = f" ({control.says.rstrip('.')})" if control.says else ""
    if above is None:
        return f"{name[0].upper()}{name[1:]}{says} has not been compared with the best round yet."
    direction = "below" if above.difference < 0 else "above"
    return (
        f"“{above.round}” scored {100 * abs(above.difference):.1f} points {direction} {name}{says}"
        f" (interval {100 * above.low:+z.1f} to {100 * above.high:+z.1f}):"
        f" {control_shows(control, gained)}."
    )


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
