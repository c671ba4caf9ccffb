"""Run events: written in the change's transaction, read in order, published afterwards.

The table is the outbox: an event is stored when its change is committed, and is
marked once it has been published, so none is lost and some may be published twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from google.protobuf import json_format
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from services.chassis.web.paging import Page
from services.controller.tables import EventRow, RunRow
from vila2.schemas.rest import controller as api
from vila2.wire.events_pb2 import RunEvent


def record(
    session: Session, run_id: str, kind: str, round: str, message: str, *, by: str = ""
) -> None:
    """Add an event in the caller's transaction."""
    # Locked, so that two events at once get two numbers.
    run = session.get_one(RunRow, run_id, with_for_update=True)
    run.events = (run.events or 0) + 1
    body = RunEvent(
        run_id=run_id,
        sequence=run.events,
        at=time.time(),
        kind=kind,
        round=round,
        message=message,
        by=by,
    )
    text = json_format.MessageToJson(body, indent=None)
    session.add(EventRow(run_id=run_id, sequence=run.events, body=text, relayed=False))


def of_run(session: Session, run_id: str, page: Page, *, after: int = 0) -> list[api.Event]:
    """A run's events after number `after`, in order."""
    chosen = select(EventRow).where(EventRow.run_id == run_id, EventRow.sequence > after)
    rows = page.rows(session, chosen, EventRow.sequence)
    events = [json_format.Parse(row.body, RunEvent()) for row in rows]
    return [
        api.Event(
            sequence=event.sequence,
            at=event.at,
            kind=event.kind,
            round=event.round,
            message=event.message,
            by=event.by,
        )
        for event in events
    ]


def unpublished(session: Session, *, limit: int = 200) -> Sequence[EventRow]:
    """Events not yet published, in order within each run."""
    return session.scalars(
        select(EventRow)
        .where(EventRow.relayed.is_(False))
        .order_by(EventRow.run_id, EventRow.sequence)
        .limit(limit)
    ).all()


def mark_published(session: Session, rows: Sequence[EventRow]) -> None:
    """Mark these events as published."""
    for row in rows:
        session.execute(
            update(EventRow)
            .where(EventRow.run_id == row.run_id, EventRow.sequence == row.sequence)
            .values(relayed=True)
        )
