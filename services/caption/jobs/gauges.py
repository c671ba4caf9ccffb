"""Progress gauges of running caption jobs, for /metrics."""

from __future__ import annotations

from sqlalchemy import select

from services.caption.tables import CaptionJobRow
from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import LAYER_SAMPLES


def measure(database: Database) -> None:
    """Set the sample counts of every unsealed layer from its recorded shards."""
    with database.reading() as session:
        rows = session.scalars(
            select(CaptionJobRow).where(CaptionJobRow.state.in_(("running", "paused")))
        ).all()
    LAYER_SAMPLES.show(
        {
            (row.id, str(row.body.get("run", "")), str(row.body["model"]), what): float(samples)
            for row in rows
            for what, samples in (
                ("captioned", row.captioned),
                ("quarantined", sum(row.quarantined.values())),
                ("total", row.samples),
            )
        }
    )
