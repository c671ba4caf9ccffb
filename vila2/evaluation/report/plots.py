"""The report's plots as inline SVG that follows the page's colours and fonts.

matplotlib draws with placeholder colours, which are then replaced by the page's CSS variables, so
that one drawing serves light and dark. Nothing is drawn that is not also in a table on the page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_INK, FAINT, GRID, _PAPER = "#a1b2c0", "#a1b2c1", "#a1b2c2", "#a1b2c3"
KINDS = {"baseline": "#a1b2d0", "self": "#a1b2d1", "specialist": "#a1b2d2", "control": "#a1b2d3"}
_VARIABLES = {
    _INK: "--ink", FAINT: "--faint", GRID: "--rule", _PAPER: "--paper",
    **{colour: f"--{kind}" for kind, colour in KINDS.items()},
}  # fmt: skip
_MARKERS = {"baseline": "o", "self": "o", "specialist": "D", "control": "s"}
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": FAINT,
    "xtick.color": FAINT,
    "ytick.color": _INK,
}
WIDTH = 9.2  # inches; the page scales it
PER_LINE = 4  # panels beside one another
CHARTS_PER_LINE = 6
_TITLE = 22  # letters above a small chart


@dataclass(frozen=True, slots=True)
class Mark:
    """A measured value with an optional range, drawn as a dot on a bar."""

    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class DotRow:
    """One model: its name, its kind (which sets colour and shape), and a mark per panel."""

    name: str
    kind: str
    marks: Sequence[Mark | None]


@dataclass(frozen=True, slots=True)
class Curve:
    """The losses of one model in one stage, as (step, loss)."""

    model: str
    stage: str
    points: Sequence[tuple[int, float]]


def dot_panels(
    rows: Sequence[DotRow],
    panels: Sequence[str],
    *,
    description: str,
    from_zero: bool = False,
    least_span: float = 0.0,
) -> str:
    """Draw one panel per title with a dot and range for each row; controls stand apart below.

    An axis spans at least `least_span`, so that a tiny difference does not look like a large one.
    """
    places, place = [], 0.0
    for index, row in enumerate(rows):
        apart = index > 0 and row.kind == "control" and rows[index - 1].kind != "control"
        place += 1.7 if apart else 1.0
        places.append(place)
    lines = -(-len(panels) // PER_LINE)
    with drawing(description) as make_figure:
        figure = make_figure(figsize=(WIDTH, lines * (0.8 + 0.27 * place)))
        columns = min(PER_LINE, len(panels))
        grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
        for index, axes in enumerate(grid.flat):
            if index >= len(panels):
                axes.set_visible(False)
                continue
            _dots(axes, rows, places, panel=index)
            low, high = axes.get_xlim()
            spare = max(0.0, least_span - (high - low)) / 2
            if from_zero:
                axes.set_xlim(0, 1.08 * max(high, 0.01))
            else:
                axes.set_xlim(low - spare, high + spare)
            axes.set_title(panels[index], loc="left", fontsize=9.5, fontweight="bold")
            axes.set_ylim(place + 0.6, 0.4)
            axes.set_yticks(places, [row.name for row in rows])
        return as_svg(figure, description)


def curve_charts(curves: Sequence[Curve], *, description: str) -> str:
    """Draw a small chart for each curve; those of the same stage have the same scale."""
    tops = {curve.stage: 0.0 for curve in curves}
    for curve in curves:
        tops[curve.stage] = max(tops[curve.stage], *(loss for _, loss in curve.points))
    columns = min(CHARTS_PER_LINE, len(curves))
    lines = -(-len(curves) // columns)
    with drawing(description) as make_figure:
        # The layout of so many charts takes seconds to compute, and is the same for all.
        height = 1.25 * lines
        figure = make_figure(figsize=(WIDTH * columns / CHARTS_PER_LINE, height), layout="none")
        figure.subplots_adjust(
            left=0.04 * CHARTS_PER_LINE / columns, right=0.99, top=1 - 0.32 / height,
            bottom=0.2 / height, wspace=0.3, hspace=0.8,
        )  # fmt: skip
        grid = figure.subplots(lines, columns, squeeze=False)
        for index, axes in enumerate(grid.flat):
            if index >= len(curves):
                axes.set_visible(False)
                continue
            curve = curves[index]
            steps, losses = zip(*curve.points, strict=True)
            axes.plot(steps, losses, color=_INK, linewidth=1.1)
            axes.annotate(
                f"{losses[-1]:.2f}", (steps[-1], losses[-1]), xytext=(0, 4), ha="right",
                textcoords="offset points", fontsize=7, color=FAINT,
            )  # fmt: skip
            axes.set_title(_short(curve.model), loc="left", fontsize=7.5, fontweight="bold", pad=9)
            axes.text(0, 1.03, curve.stage, transform=axes.transAxes, fontsize=7, color=FAINT)
            axes.set_ylim(0, 1.15 * tops[curve.stage] or 1.0)
            axes.set_xticks([steps[-1]])
            axes.locator_params(axis="y", nbins=2)
            axes.tick_params(length=0, labelsize=7, labelcolor=FAINT)
            axes.grid(axis="y", color=GRID, linewidth=0.7)
        return as_svg(figure, description)


def _short(name: str) -> str:
    """A name that fits above a small chart."""
    return name if len(name) <= _TITLE else f"{name[: _TITLE - 1]}\N{HORIZONTAL ELLIPSIS}"


def _dots(axes: Axes, rows: Sequence[DotRow], places: Sequence[float], *, panel: int) -> None:
    for row, place in zip(rows, places, strict=True):
        mark = row.marks[panel]
        if mark is None:
            continue
        colour = KINDS[row.kind]
        if mark.low is not None and mark.high is not None:
            axes.plot([mark.low, mark.high], [place, place], color=colour, linewidth=1.8, zorder=2)
        axes.plot(
            mark.value, place, marker=_MARKERS[row.kind], markersize=6, color=colour, zorder=3,
            markerfacecolor=_PAPER if row.kind == "control" else colour, markeredgewidth=1.5,
        )  # fmt: skip
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.tick_params(length=0)
    axes.margins(x=0.08)
    axes.locator_params(axis="x", nbins=4)


@contextmanager
def drawing(description: str) -> Iterator[Callable[..., Figure]]:
    """Apply the report's settings while a figure is made and saved; yield what makes it."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine
    except ImportError as error:
        raise ImportError(
            "the HTML report draws its plots with matplotlib: install vila2[report]"
        ) from error
    # The salt keeps the ids of two drawings on one page apart, and the same on every machine.
    with matplotlib.rc_context(_SETTINGS | {"svg.hashsalt": description}):
        yield partial(Figure, layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1))


def as_svg(figure: Figure, description: str) -> str:
    """The figure as inline SVG in the page's colours, without frames; `description` is read out."""
    for axes in figure.axes:
        for spine in axes.spines.values():
            spine.set_visible(False)
        axes.patch.set_visible(False)
    figure.patch.set_visible(False)
    sink = io.StringIO()
    with warnings.catch_warnings():
        # The reader's browser has the glyphs; matplotlib's font only measures the text here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None})
    drawing = sink.getvalue()
    drawing = drawing[drawing.index("<svg") :]
    drawing = re.sub(r"<metadata>.*?</metadata>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(r"<style.*?</style>", "", drawing, flags=re.DOTALL)
    drawing = re.sub(
        r'<g id="[^"]*"/?>', _without_id, drawing
    )  # ids that every drawing would share
    drawing = re.sub(r'font-family: [^;"]*', "font-family: var(--sans)", drawing)
    for colour, variable in _VARIABLES.items():
        drawing = drawing.replace(colour, f"var({variable})")
    label = escape(description, quote=True)
    return drawing.replace("<svg", f'<svg role="img" aria-label="{label}" class="plot"', 1)


def _without_id(group: re.Match[str]) -> str:
    return "" if group[0].endswith("/>") else "<g>"
