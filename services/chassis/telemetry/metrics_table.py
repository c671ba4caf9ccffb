"""The metrics as a table for docs/observability.md.

python -m services.chassis.telemetry.metrics_table
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client.metrics import MetricWrapperBase

from services.chassis.telemetry import metrics
from services.chassis.telemetry.snapshot_gauge import Listed


@dataclass(frozen=True, slots=True)
class Row:
    """One metric, named as a query names it."""

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str


def described() -> list[Row]:
    """All metrics of `services.chassis.telemetry.metrics`, in the order of that file."""
    return list(_rows())


def table() -> str:
    """A Markdown table of them."""
    lines = ["| metric | kind | labels | |", "|---|---|---|---|"]
    lines += [
        f"| `{row.name}` | {row.kind} | {', '.join(row.labels)} | {row.documentation} |"
        for row in described()
    ]
    return "\n".join(lines) + "\n"


def _rows() -> Iterator[Row]:
    for metric in vars(metrics).values():
        if isinstance(metric, Listed):
            yield Row(metric.name, "gauge", metric.labels, metric.documentation)
        elif isinstance(metric, MetricWrapperBase):
            # Its labels are not to be had otherwise; a family has none before it has series.
            (family,) = metric.describe()
            ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
            yield Row(
                f"{family.name}{ending}", family.type, metric._labelnames, family.documentation
            )


if __name__ == "__main__":
    sys.stdout.write(table())
