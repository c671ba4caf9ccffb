"""Why no unit of a subject makes progress, and until when: a lost worker, or a failed attempt."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.chassis.work.units import LEASED, READY, WorkUnits


@dataclass(frozen=True, slots=True)
class Stall:
    """Units wait until `until` (Unix time, seconds)."""

    why: str
    until: float


def stall(session: Session, units: WorkUnits, subject: str, *, now: float) -> Stall | None:
    """Why a subject's units wait; `None` if one is worked on or can be claimed.

    Workers renew their leases every second, so one that was not renewed for a quarter of its time
    belongs to a worker that no longer answers.
    """
    table = units.table
    lease = session.scalar(
        select(func.max(table.lease_until)).where(table.state == LEASED, table.subject == subject)
    )
    if lease is not None:
        if lease > now + units.lease_seconds * 3 / 4:
            return None
        return Stall("its worker no longer answers, and another takes over", lease)
    row = session.execute(
        select(table.not_before, table.error)
        .where(table.state == READY, table.subject == subject)
        .order_by(table.not_before)
        .limit(1)
    ).first()
    if row is None or row.not_before <= now or not row.error:
        return None
    reason = str(row.error).splitlines()[0][:200]
    return Stall(f"an attempt failed and is repeated: {reason}", row.not_before)


def at(moment: float) -> str:
    """A time of the day in UTC, for a reader."""
    return f"{datetime.fromtimestamp(moment, UTC):%H:%M:%S} UTC"
