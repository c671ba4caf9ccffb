"""Dashboards as data, and their translation into Grafana's JSON by its foundation SDK."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    prometheus,
    stat,
    table,
    timeseries,
)
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    LegendDisplayMode,
    LegendPlacement,
    TooltipDisplayMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DataSourceRef,
    DynamicConfigValue,
    GridPos,
    VariableRefresh,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

COLUMNS = 24
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and what a series of it is called: `{{label}}` stands for a label's value."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel; `unit` is Grafana's name of it, sizes are of its grid (24 wide)."""

    title: str
    description: str
    queries: Sequence[Query]
    unit: str
    kind: Literal["lines", "stat", "table", "bars"] = "lines"
    width: int = 8
    height: int = 8
    least: float | None = None
    most: float | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """Panels below a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True, slots=True)
class Variable:
    """What a reader chooses: the values of a metric's label."""

    name: str
    metric: str


@dataclass(frozen=True, slots=True)
class Board:
    """A dashboard."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[Variable] = field(default=())
    since: str = "now-6h"


def placed(board: Board) -> list[tuple[Row, int, list[tuple[Panel, int, int]]]]:
    """Each row with its y, and its panels with their (x, y), in cells of the grid."""
    found = []
    y = 0
    for row in board.rows:
        panels: list[tuple[Panel, int, int]] = []
        found.append((row, y, panels))
        y, x, highest = y + 1, 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                y, x, highest = y + highest, 0, 0
            panels.append((panel, x, y))
            x, highest = x + panel.width, max(highest, panel.height)
        y += highest
    return found


def built(board: Board) -> Any:
    """The SDK's model of it."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(["vila2"])
        .editable()
        .refresh("30s")
        .time(board.since, "now")
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(dashboard.DashboardLink("VILA²").tags(["vila2"]).type("dashboards").as_dropdown(True))
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data").type("prometheus"))
    )
    for variable in board.variables:
        made = made.with_variable(
            dashboard.QueryVariable(variable.name)
            .label(variable.name.capitalize())
            .datasource(SOURCE)
            .query(f"label_values({variable.metric}, {variable.name})")
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".*")
            .multi(True)
        )
    number = 1
    for row, row_y, panels in placed(board):
        place = GridPos(h=1, w=COLUMNS, x=0, y=row_y)
        made = made.with_row(dashboard.Row(row.title).id(number).grid_pos(place))
        number += 1
        for panel, x, y in panels:
            place = GridPos(h=panel.height, w=panel.width, x=x, y=y)
            made = made.with_panel(_panel(panel).id(number).grid_pos(place))
            number += 1
    return made.build()


def _panel(panel: Panel) -> Any:
    kinds = {"lines": _lines, "stat": _stat, "table": _table, "bars": _bars}
    made = kinds[panel.kind]().title(panel.title).description(panel.description)
    made = made.datasource(SOURCE).unit(panel.unit).no_value("none")
    if panel.least is not None:
        made = made.min(panel.least)
    if panel.most is not None:
        made = made.max(panel.most)
    for number, query in enumerate(panel.queries):
        asked = prometheus.Dataquery().expr(query.expr).legend_format(query.legend)
        asked = asked.ref_id("ABCDEFGH"[number]).datasource(SOURCE)
        if panel.kind == "table":
            asked = asked.instant().format(PromQueryFormat.TABLE)
        elif panel.kind in ("stat", "bars"):
            asked = asked.instant()
        else:
            asked = asked.range()
        made = made.with_target(asked)
    return made


def _lines() -> Any:
    legend = (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs(["lastNotNull", "max"])
    )
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
    return timeseries.Panel().legend(legend).tooltip(tooltip).line_width(1).fill_opacity(8)


def _stat() -> Any:
    return stat.Panel().reduce_options(_last()).color_mode(BigValueColorMode.VALUE)


def _bars() -> Any:
    return bargauge.Panel().reduce_options(_last()).orientation(VizOrientation.HORIZONTAL)


def _table() -> Any:
    hidden = [DynamicConfigValue(id_val="custom.hidden", value=True)]
    return table.Panel().show_header(True).override_by_name("Time", hidden)


def _last() -> Any:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)
