"""Which trouble of a database, disk or object store an error is, in words for a reply. Pure."""

from __future__ import annotations

import errno
import sqlite3
from dataclasses import dataclass

from sqlalchemy.exc import DBAPIError

from services.chassis.work.transient_errors import is_passing


@dataclass(frozen=True, slots=True)
class Trouble:
    """A fault of what the service stores in: an HTTP status, what is wrong, and the fix."""

    status: int
    what: str
    fix: str


FULL = Trouble(
    507, "there is no space left for this", "ask the operator to free space, then send it again"
)
READ_ONLY = Trouble(
    503, "the storage is read-only", "ask the operator to make it writable, then send it again"
)
DAMAGED = Trouble(503, "the database is damaged", "ask the operator to restore it from a backup")
AWAY = Trouble(503, "the storage does not answer", "try again later")

_ERRNO = {
    errno.ENOSPC: FULL, errno.EDQUOT: FULL, errno.EROFS: READ_ONLY,
    errno.EIO: AWAY, errno.EMFILE: AWAY, errno.ENFILE: AWAY, errno.ESTALE: AWAY,
}  # fmt: skip
_SQLITE = {
    sqlite3.SQLITE_FULL: FULL, sqlite3.SQLITE_READONLY: READ_ONLY,
    sqlite3.SQLITE_CORRUPT: DAMAGED, sqlite3.SQLITE_NOTADB: DAMAGED,
}  # fmt: skip
# PostgreSQL's SQLSTATE: its whole code, else its class.
_POSTGRES = {
    "53100": FULL, "25006": READ_ONLY, "XX001": DAMAGED, "XX002": DAMAGED,
    "08": AWAY, "53": AWAY, "57": AWAY, "58": AWAY,
}  # fmt: skip


def trouble_of(error: BaseException) -> Trouble | None:
    """The trouble behind an error or any in its chain of causes; `None` if it is another fault."""
    seen: BaseException | None = error
    while seen is not None:
        if found := _of(seen):
            return found
        seen = seen.__cause__
    return AWAY if is_passing(error) else None


def _of(error: BaseException) -> Trouble | None:
    if isinstance(error, OSError):
        return _ERRNO.get(error.errno or 0)
    if not isinstance(error, DBAPIError):
        return None
    if isinstance(error.orig, sqlite3.Error):
        # The low byte is the primary code; the rest is detail.
        return _SQLITE.get(getattr(error.orig, "sqlite_errorcode", 0) & 0xFF)
    state = str(getattr(error.orig, "sqlstate", None) or "")
    return _POSTGRES.get(state) or _POSTGRES.get(state[:2])
