"""Deduplication index of a version, on disk: memory does not grow with the number of samples.

A temporary SQLite database with a bounded page cache, deleted when its connection closes.
"""

from __future__ import annotations

import sqlite3

_CACHE_KIB = 32 * 1024


class Seen:
    """Keys, images, questions and captions of one version, as digests."""

    def __init__(self) -> None:
        # An empty name is a private file on disk that is deleted when it is closed.
        self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        for pragma in (f"cache_size=-{_CACHE_KIB}", "journal_mode=OFF", "synchronous=OFF"):
            self._db.execute(f"PRAGMA {pragma}")
        for statement in (
            "CREATE TABLE names (name BLOB PRIMARY KEY) WITHOUT ROWID",
            "CREATE TABLE images (digest BLOB PRIMARY KEY, texts BLOB, source TEXT) WITHOUT ROWID",
            "CREATE TABLE captions (digest BLOB PRIMARY KEY, repeated INTEGER) WITHOUT ROWID",
            "BEGIN",
        ):
            self._db.execute(statement)

    def image(self, digest: bytes) -> tuple[str, bytes] | None:
        """Return source and text digest of a known image, else `None`."""
        found: tuple[str, bytes] | None = self._db.execute(
            "SELECT source, texts FROM images WHERE digest = ?", (digest,)
        ).fetchone()
        return found

    def add_image(self, digest: bytes, texts: bytes, source: str) -> None:
        """Record an image's digest, text digest and source."""
        self._db.execute("INSERT INTO images VALUES (?, ?, ?)", (digest, texts, source))

    def has_name(self, sort: str, name: str) -> bool:
        """Whether a name of this sort (a key, a question's id) is taken."""
        found = self._db.execute("SELECT 1 FROM names WHERE name = ?", (_name(sort, name),))
        return found.fetchone() is not None

    def add_name(self, sort: str, name: str) -> None:
        """Record a name as taken."""
        self._db.execute("INSERT OR IGNORE INTO names VALUES (?)", (_name(sort, name),))

    def add_caption(self, digest: bytes) -> int:
        """Record a caption; return how much the count of repeated captions grows.

        The second occurrence adds 2, since the first is then a repetition as well.
        """
        held = self._db.execute(
            "SELECT repeated FROM captions WHERE digest = ?", (digest,)
        ).fetchone()
        if held is None:
            self._db.execute("INSERT INTO captions VALUES (?, 0)", (digest,))
            return 0
        if held[0]:
            return 1
        self._db.execute("UPDATE captions SET repeated = 1 WHERE digest = ?", (digest,))
        return 2

    def close(self) -> None:
        """Close the database, which deletes its file."""
        self._db.close()


def _name(sort: str, name: str) -> bytes:
    return f"{sort}:{name}".encode("utf-8", "surrogatepass")
