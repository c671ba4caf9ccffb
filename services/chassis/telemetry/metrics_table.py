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
    """One metric, under the name that queries use."""

    name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str


def described() -> list[Row]:
    """All metrics of `services.chassis.telemetry.metrics`, in definition order."""
    return list(_rows())


def table() -> str:
    """All metrics as a Markdown table."""
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
            # There is no public access to the labels of a metric without series.
            (family,) = metric.describe()
            ending = {"counter": "_total", "info": "_info"}.get(family.type, "")
            yield Row(
                f"{family.name}{ending}", family.type, metric._labelnames, family.documentation
            )


if __name__ == "__main__":
    sys.stdout.write(table())
