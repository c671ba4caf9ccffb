"""Classification of transient failures, such as an unavailable server or a full disk.

Work that hits one is postponed without consuming an attempt. Failures not known to be transient
consume one.
"""

from __future__ import annotations

import errno
import sqlite3

from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from vila2.client import ApiError, Unreachable

_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.EIO)
_SQLITE = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN,
)  # fmt: skip
# S3 error codes that concern the server, not the request.
_S3 = ("InternalError", "ServiceUnavailable", "SlowDown", "RequestTimeTooSkewed", "RequestTimeout")


def is_passing(error: BaseException) -> bool:
    """Whether an error, or any in its cause chain, is transient."""
    seen: BaseException | None = error
    while seen is not None:
        if _passes(seen):
            return True
        seen = seen.__cause__
    return False


def _passes(error: BaseException) -> bool:
    if isinstance(error, ApiError):
        return error.passing
    if isinstance(error, Unreachable | PoolTimeout | ConnectionError | TimeoutError):
        return True
    if isinstance(error, DBAPIError):
        return _database_is_away(error)
    if isinstance(error, OSError):
        return error.errno in _DISK
    return _objects_are_away(error)


def _database_is_away(error: DBAPIError) -> bool:
    """Whether the database is unavailable; SQLite also raises this type for missing tables."""
    if isinstance(error.orig, sqlite3.Error):
        # The low byte is the primary code; the rest is detail.
        return getattr(error.orig, "sqlite_errorcode", 0) & 0xFF in _SQLITE
    return error.connection_invalidated or isinstance(error, OperationalError)


def _objects_are_away(error: BaseException) -> bool:
    try:
        from minio.error import S3Error, ServerError
        from urllib3.exceptions import HTTPError
    except ImportError:  # no S3 client installed: objects are in a directory
        return False
    if isinstance(error, S3Error):
        return error.code in _S3
    return isinstance(error, HTTPError | ServerError)
