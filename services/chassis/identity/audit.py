"""The audit log: which key did what, when, and how it ended.

Recorded is every request of a route whose scope lets it change something, and every request that
was refused for who asked (401 and 403), before the reply is sent. Refusals of nobody known are
bounded, so that a stranger cannot fill the disk; those beyond are counted.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass

import structlog
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from services.chassis.database import Database
from services.chassis.errors import Invalid
from services.chassis.identity.limiter import Bucket, take
from services.chassis.identity.scopes import PLATFORM_ADMIN, Principal, changes_something
from services.chassis.identity.tables import AuditRow
from services.chassis.identity.teams import see
from services.chassis.metrics import AUDIT_UNRECORDED
from vila2.api import identity as api

_log = structlog.get_logger()
STRANGERS_PER_MINUTE = 60
_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class Deed:
    """A request and how it ended; `key` is empty where nobody known sent it."""

    service: str
    method: str
    route: str
    path: str
    status: int
    key: str = ""
    user_name: str = ""
    team: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries to show; an empty field takes all."""

    team: str = ""
    key: str = ""
    user: str = ""
    service: str = ""
    method: str = ""
    status: int | None = None
    path: str = ""
    since: float | None = None
    until: float | None = None


def worth_recording(scope: str, status: int) -> bool:
    """Whether a request of a route with this scope belongs into the log. Pure."""
    return status in _REFUSED or (changes_something(scope) and status != 429)


class Audit:
    """Owns the table `audit`. Safe to use from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._strangers, self._lock = Bucket.full(STRANGERS_PER_MINUTE), threading.Lock()

    def record(self, deed: Deed) -> None:
        """Write one entry; where that fails, the process's own log has it instead."""
        if not deed.key and not self._room_for_a_stranger():
            AUDIT_UNRECORDED.labels("strangers").inc()
            return
        try:
            with self._database.transaction() as session:
                session.add(AuditRow(at=time.time(), **asdict(deed)))
        except SQLAlchemyError:
            AUDIT_UNRECORDED.labels("database").inc()
            _log.exception("not in the audit log", **asdict(deed))

    def page(
        self, caller: Principal, wanted: Wanted, *, cursor: str = "", limit: int = 50
    ) -> api.AuditPage:
        """Entries of the caller's team, or of every team for the platform's admin."""
        team = wanted.team
        if PLATFORM_ADMIN not in caller.scopes:
            team = team or caller.team
            see(caller, team)
        query = select(AuditRow).order_by(AuditRow.id.desc()).limit(limit + 1)
        for column, value in (
            (AuditRow.team, team),
            (AuditRow.key, wanted.key),
            (AuditRow.user_name, wanted.user),
            (AuditRow.service, wanted.service),
            (AuditRow.method, wanted.method.upper()),
            (AuditRow.status, wanted.status),
        ):
            if value not in ("", None):
                query = query.where(column == value)
        if wanted.path:
            query = query.where(AuditRow.path.contains(wanted.path, autoescape=True))
        if wanted.since is not None:
            query = query.where(AuditRow.at >= wanted.since)
        if wanted.until is not None:
            query = query.where(AuditRow.at < wanted.until)
        if cursor:
            query = query.where(AuditRow.id < _number(cursor))
        with self._database.reading() as session:
            rows = session.scalars(query).all()
        more = len(rows) > limit
        entries = [_entry(row) for row in rows[:limit]]
        return api.AuditPage(entries=entries, next=str(entries[-1].id) if more else None)

    def _room_for_a_stranger(self) -> bool:
        with self._lock:
            self._strangers, wait = take(self._strangers, STRANGERS_PER_MINUTE, time.monotonic())
        return wait == 0


def _number(cursor: str) -> int:
    if not cursor.isascii() or not cursor.isdigit() or len(cursor) > 18:
        raise Invalid(
            f"{cursor[:40]!r} is no cursor", field="cursor", fix="give the `next` of a page"
        )
    return int(cursor)


def _entry(row: AuditRow) -> api.AuditEntry:
    return api.AuditEntry(
        id=row.id,
        at=row.at,
        service=row.service,
        method=row.method,
        route=row.route,
        path=row.path,
        status=row.status,
        key=row.key,
        user=row.user_name,
        team=row.team,
        request_id=row.request_id,
    )
