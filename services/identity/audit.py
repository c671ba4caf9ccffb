"""The audit log: which key did what, when, and how it ended.

Records every request to a route whose scope allows changes, and every 401 and 403, before the
response is sent. Entries for refused requests are rate-limited, for each team and for strangers
together, so that they cannot fill the disk; the excess is counted. Entries are kept forever
unless a retention in days is configured.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass

import structlog
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import AUDIT_UNRECORDED
from services.chassis.web.errors import Invalid
from services.identity.limiter import Limiter
from services.identity.scopes import PLATFORM_ADMIN, Principal, changes_something
from services.identity.tables import AuditRow
from services.identity.teams import see
from vila2.schemas.rest import identity as api

_log = structlog.get_logger()
REFUSALS_PER_MINUTE = 60
PRUNE_SECONDS = 3600.0
# Rows per call, so that writers do not wait long; the next call removes more.
PRUNE_MOST = 10_000
_REFUSED = (401, 403)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A request and its outcome; `key` is empty if the request was unauthenticated."""

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
    """Filters for entries; an empty field matches all."""

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
    """Whether to log a request to a route with this scope. Pure."""
    return status in _REFUSED or (changes_something(scope) and status != 429)


class Audit:
    """Owns the table `audit`. Thread-safe."""

    def __init__(
        self,
        database: Database,
        *,
        days: int | None = None,
        refusals: int = REFUSALS_PER_MINUTE,
    ) -> None:
        self._database, self._days, self._refusals = database, days, refusals
        self._refused = Limiter()
        self._pruned, self._lock = float("-inf"), threading.Lock()

    def record(self, made: AuditRecord) -> None:
        """Write one entry; if that fails, it goes to the process's log."""
        if not self._has_room(made):
            AUDIT_UNRECORDED.labels("refusals" if made.key else "strangers").inc()
            return
        try:
            with self._database.transaction() as session:
                session.add(AuditRow(at=time.time(), **asdict(made)))
        except SQLAlchemyError:
            AUDIT_UNRECORDED.labels("database").inc()
            _log.exception("not in the audit log", **asdict(made))
            return
        if self._days is not None and self._time_to_prune():
            self.prune(time.time() - self._days * api.DAY)

    def prune(self, before: float) -> int:
        """Delete up to `PRUNE_MOST` entries older than `before`, oldest first; returns the count.

        On failure the entries stay until the next call.
        """
        old = select(AuditRow.id).where(AuditRow.at < before).order_by(AuditRow.at)
        try:
            with self._database.transaction() as session:
                ids = session.scalars(old.limit(PRUNE_MOST)).all()
                session.execute(delete(AuditRow).where(AuditRow.id.in_(ids)))
        except SQLAlchemyError:
            _log.exception("the audit log was not pruned")
            return 0
        if ids:
            _log.info("the audit log was pruned", entries=len(ids), before=before)
        return len(ids)

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

    def _time_to_prune(self) -> bool:
        with self._lock:
            due = time.monotonic() - self._pruned > PRUNE_SECONDS
            if due:
                self._pruned = time.monotonic()
            return due

    def _has_room(self, made: AuditRecord) -> bool:
        """Whether an entry may be written; those that changed something always may."""
        if made.key and made.status not in _REFUSED:
            return True
        who = f"team:{made.team}" if made.key else "strangers"
        return self._refused.wait(who, self._refusals) == 0


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
