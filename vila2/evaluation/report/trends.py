"""Curves by round: scores and caption length, with the paper's curves for comparison."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vila2.evaluation.report.paper import CHANGES, WORDS
from vila2.evaluation.report.plots import FAINT, GRID, KINDS, WIDTH, Mark, as_svg, drawing


@dataclass(frozen=True, slots=True)
class Step:
    """One round of the method: change of the macro score since round 0, and words per caption."""

    name: str
    change: Mark | None
    words: float | None


def trend_panels(steps: Sequence[Step], *, description: str) -> str:
    """Draw change and length by round, each with the paper's small beside it.

    Scales differ between the two, since neither data nor models are the same; the round does not.
    """
    changes = [(index, step.change) for index, step in enumerate(steps) if step.change]
    words = [(index, Mark(step.words)) for index, step in enumerate(steps) if step.words]
    panels = (
        ("Macro score, points since round 0", changes, "this run"),
        ("The paper: 8 benchmarks", [(i, Mark(c)) for i, c in enumerate(CHANGES)], "paper"),
        ("Words per caption", words, "this run"),
        ("The paper: words", [(i, Mark(float(w))) for i, w in enumerate(WORDS)], "paper"),
    )
    with drawing(description) as make_figure:
        figure = make_figure(figsize=(WIDTH, 4.2))
        grid = figure.subplots(2, 2, width_ratios=[3, 1]).flat
        for axes, (title, points, whose) in zip(grid, panels, strict=True):
            last = (len(steps) if whose == "this run" else len(CHANGES)) - 1
            small = whose == "paper"
            colour = KINDS["self"] if whose == "this run" else KINDS["control"]
            axes.plot(
                [x for x, _ in points], [mark.value for _, mark in points], color=colour,
                marker="s" if small else "o", markersize=3 if small else 5, linewidth=1.4,
                linestyle="--" if small else "-", clip_on=False,
            )  # fmt: skip
            for x, mark in points:
                top = mark.value if mark.high is None else mark.high
                if mark.low is not None:
                    axes.plot([x, x], [mark.low, top], color=colour, linewidth=1.8)
                if small and x not in (0, last):
                    continue
                axes.annotate(
                    f"{mark.value:.1f}", (x, top), xytext=(0, 5), textcoords="offset points",
                    ha="center", fontsize=6.5 if small else 8, color=FAINT,
                )  # fmt: skip
            axes.set_title(title, loc="left", fontsize=7.5 if small else 9.5, fontweight="bold")
            axes.set_xlim(-0.3, last + 0.5)
            axes.set_xticks(range(last + 1))
            axes.set_xlabel("round", fontsize=7 if small else 9)
            axes.set_ylim(*_limits([mark for _, mark in points]))
            axes.tick_params(length=0, labelcolor=FAINT, labelsize=7 if small else 9)
            axes.grid(axis="y", color=GRID, linewidth=0.7)
            axes.locator_params(axis="y", nbins=3 if small else 5)
        return as_svg(figure, description)


def _limits(marks: Sequence[Mark]) -> tuple[float, float]:
    """From a little below zero, or the lowest bound, to what leaves room for the labels."""
    bounds = [0.0, *(v for m in marks for v in (m.value, m.low, m.high) if v is not None)]
    span = max(max(bounds) - min(bounds), 1.0)
    return min(bounds) - 0.08 * span, max(bounds) + 0.2 * span
