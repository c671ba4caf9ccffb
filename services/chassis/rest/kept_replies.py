"""Replies kept by `Idempotency-Key`, in the service's own database.

A row is claimed before the request is carried out and gets its reply afterwards, so a second
request with the same key finds one of the two, in whichever process it is answered. A claim is
renewed while its request is at work; where the process dies, it lapses, and the key is free again.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, Float, Integer, LargeBinary, String, delete, update
from sqlalchemy.orm import Mapped, mapped_column

from services.chassis.database import Database, exclusively
from services.chassis.errors import InProgress, Invalid

HEADER = "Idempotency-Key"
KEPT_SECONDS = 24 * 3600.0
CLAIM_SECONDS = 60.0
_SWEEP_SECONDS = 60.0


class KeptReplyColumns:
    """The columns of a service's `kept_replies` table; the service owns the table.

    `status` is 0 while the request is at work. `until` is when the row counts for nothing.
    """

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    claim: Mapped[str] = mapped_column(String(32))
    status: Mapped[int] = mapped_column(Integer, default=0)
    headers: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)
    body: Mapped[bytes] = mapped_column(LargeBinary, default=b"")
    until: Mapped[float] = mapped_column(Float, index=True)


@dataclass(frozen=True, slots=True)
class KeptReply:
    """A reply as it was sent."""

    status: int
    headers: dict[str, str]
    body: bytes


class KeptReplies:
    """The operations on one service's kept replies. `table` maps `KeptReplyColumns`."""

    def __init__(self, database: Database, table: type[Any]) -> None:
        self._database = database
        self._table: type[Any] = table
        self._swept = 0.0

    def claim(self, identity: str, fingerprint: str) -> str | KeptReply:
        """Claim a request and return the claim, or the reply that it had before.

        Raises `Invalid` where the key was used for another request, `InProgress` where the same
        request is at work.
        """
        self._sweep()
        table, now = self._table, time.time()
        with self._database.transaction() as session:
            exclusively(session, f"reply:{identity}")
            row = session.get(table, identity)
            if row is None or row.until <= now:
                claim = uuid.uuid4().hex
                values = {"claim": claim, "status": 0, "headers": {}, "body": b""}
                session.merge(
                    table(id=identity, fingerprint=fingerprint, until=now + CLAIM_SECONDS, **values)
                )
                return claim
            if row.fingerprint != fingerprint:
                raise Invalid(
                    "this key came with another request before",
                    field=HEADER,
                    fix="make a new key for every request, and send it again only with the same",
                )
            if not row.status:
                raise InProgress(
                    "the request with this key is still at work",
                    field=HEADER,
                    fix="send it again after the seconds that Retry-After says",
                )
            return KeptReply(row.status, row.headers, row.body)

    def renew(self, identity: str, claim: str) -> None:
        """The request is still at work."""
        self._change(identity, claim, {"until": time.time() + CLAIM_SECONDS})

    def keep(self, identity: str, claim: str, reply: KeptReply) -> None:
        """Keep the reply of a request for a day."""
        values = {
            "status": reply.status,
            "headers": reply.headers,
            "body": reply.body,
            "until": time.time() + KEPT_SECONDS,
        }
        self._change(identity, claim, values)

    def drop(self, identity: str, claim: str) -> None:
        """Free the key: the request has no reply that is kept."""
        table = self._table
        with self._database.transaction() as session:
            session.execute(delete(table).where(table.id == identity, table.claim == claim))

    def _change(self, identity: str, claim: str, values: dict[str, Any]) -> None:
        table = self._table
        with self._database.transaction() as session:
            session.execute(
                update(table).where(table.id == identity, table.claim == claim).values(**values)
            )

    def _sweep(self) -> None:
        """Now and then, remove what counts for nothing."""
        now = time.time()
        if now - self._swept < _SWEEP_SECONDS:
            return
        self._swept = now
        table = self._table
        with self._database.transaction() as session:
            session.execute(delete(table).where(table.until <= now))
