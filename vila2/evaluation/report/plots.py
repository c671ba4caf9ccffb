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
_LINES = tuple(f"#a1b2e{digit}" for digit in range(8))
_VARIABLES = {
    _INK: "--ink", FAINT: "--faint", GRID: "--rule", _PAPER: "--paper",
    **{colour: f"--{kind}" for kind, colour in KINDS.items()},
    **{colour: f"--line-{number}" for number, colour in enumerate(_LINES)},
}  # fmt: skip
_MARKERS = {"baseline": "o", "self": "o", "specialist": "D", "control": "s"}
_DASHES = ("-", (0, (4, 1.5)), (0, (1, 1.2)))
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
    """One model's losses in one stage, as (step, loss)."""

    name: str
    points: Sequence[tuple[int, float]]
    control: bool = False


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


def curve_panels(stages: Sequence[tuple[str, Sequence[Curve]]], *, description: str) -> str:
    """Draw one panel per stage with each model's training loss; controls are dashed."""
    names = list(dict.fromkeys(curve.name for _, curves in stages for curve in curves))
    lines = -(-len(stages) // PER_LINE)
    with drawing(description) as make_figure:
        size = (WIDTH, 2.5 * lines + 0.3 * (-(-len(names) // 4)))
        figure = make_figure(figsize=size)
        grid = figure.subplots(lines, min(PER_LINE, len(stages)), squeeze=False)
        handles: dict[str, Any] = {}
        for index, axes in enumerate(grid.flat):
            if index >= len(stages):
                axes.set_visible(False)
                continue
            title, curves = stages[index]
            for curve in curves:
                number = names.index(curve.name)
                (handles[curve.name],) = axes.plot(
                    [step for step, _ in curve.points],
                    [loss for _, loss in curve.points],
                    color=_LINES[number % len(_LINES)],
                    linestyle=_DASHES[min(number // len(_LINES) + curve.control, 2)],
                    linewidth=1.4,
                )
            axes.set_title(title, loc="left", fontsize=9.5, fontweight="bold")
            axes.set_xlabel("step")
            axes.tick_params(length=0, labelcolor=FAINT)
            axes.grid(axis="y", color=GRID, linewidth=0.7)
            axes.margins(x=0.01)
            axes.set_ylim(bottom=0)
        figure.legend(
            [handles[name] for name in names], names, loc="outside lower left",
            ncols=min(4, len(names)), frameon=False, fontsize=9, handlelength=1.8,
        )  # fmt: skip
        return as_svg(figure, description)


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
