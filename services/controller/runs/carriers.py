"""Whether a controller carries runs on."""

from __future__ import annotations

from datetime import UTC, datetime

from services.chassis.storage.database import Database
from services.controller.tables import LeaseRow

# A run that was started before the first controller has led is not in trouble yet.
_ROLE = "reconciler"


def no_controller(database: Database) -> str:
    """Why nothing carries a running run on; empty if a controller holds the lease."""
    with database.reading() as session:
        lease = session.get(LeaseRow, _ROLE)
        if lease is None or lease.until > database.time(session):
            return ""
        ended = datetime.fromtimestamp(lease.until, UTC)
    return (
        f"no controller carries it on: the last one's lease ended at {ended:%Y-%m-%d %H:%M:%S} "
        "UTC. It continues when `vila2 up` or the controller service runs again"
    )
