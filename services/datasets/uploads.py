"""Uploads: pieces of at most 512 MiB under a version, each sent until the store has it.

A client that dies asks which pieces are there and sends the rest; a piece that is sent again
changes nothing. Pieces are parts of raw samples (their file is ""), or pieces of files as they are.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.database import Database
from services.chassis.errors import Conflict, Invalid, TooLarge
from services.chassis.objects import ObjectStore
from services.chassis.rest.paging import Page
from services.datasets.lookup import dataset_row, version_row
from services.datasets.storage import Storage
from services.datasets.tables import UploadRow, VersionRow
from vila2.api import datasets as api
from vila2.data.errors import ShardError
from vila2.data.tars import members_of

MAX_PIECE_BYTES = 512 * 1024 * 1024
_SEGMENT = re.compile(r"[^\x00-\x1f/\\]{1,200}")


class Uploads:
    """Owns the table `uploads` and the objects below `uploads/`."""

    def __init__(self, database: Database, objects: ObjectStore, storage: Storage) -> None:
        self._database, self._objects, self._storage = database, objects, storage

    def put_part(self, team: str, name: str, number: int, part: int, data: bytes) -> None:
        """Store a tar of raw samples."""
        _fits(data)
        try:
            for _ in members_of(io.BytesIO(data)):
                pass
        except ShardError as error:
            raise Invalid(str(error), field="body", fix=error.fix or "send a plain tar") from error
        self._put(team, name, number, "", part, data)

    def put_piece(
        self, team: str, name: str, number: int, file: str, piece: int, data: bytes
    ) -> None:
        """Store a piece of a file; the pieces of a file are put together by their numbers."""
        _fits(data)
        segments = file.split("/")
        plain = all(_SEGMENT.fullmatch(s) and not s.startswith(".") for s in segments)
        if not plain or len(file) > 300:
            raise Invalid(
                f"{file[:200]!r} is not a plain relative path",
                field="file",
                fix="use names without .., leading dots, backslashes or control characters",
            )
        self._put(team, name, number, file, piece, data)

    def of_version(self, team: str, name: str, number: int, page: Page) -> list[api.Upload]:
        """The pieces that the store has, by file and number."""
        with self._database.reading() as session:
            row = version_row(session, dataset_row(session, team, name), number)
            chosen = select(UploadRow).where(UploadRow.version_id == row.id)
            return [
                api.Upload(file=held.file, number=held.number, sha256=held.sha256, bytes=held.bytes)
                for held in page.rows(session, chosen, UploadRow.file, UploadRow.number)
            ]

    def sweep(self, version_id: int | None = None) -> None:
        """Remove the objects of versions that are ready: their samples lie in shards."""
        with self._database.transaction() as session:
            query = (
                select(UploadRow)
                .join(VersionRow, VersionRow.id == UploadRow.version_id)
                .where(VersionRow.state == "ready", UploadRow.kept)
            )
            if version_id is not None:
                query = query.where(UploadRow.version_id == version_id)
            held = list(session.scalars(query))
            for row in held:
                self._objects.delete(upload_key(row))
                row.kept = False
        for version in {row.version_id for row in held}:
            for key in list(self._objects.keys(f"uploads/{version}")):
                self._objects.delete(key)

    def _put(self, team: str, name: str, number: int, file: str, piece: int, data: bytes) -> None:
        digest = hashlib.sha256(data).hexdigest()
        with self._database.transaction() as session:
            row = self._open(session, team, name, number, file, piece, digest)
            if row is None:
                return
            self._storage.check(session, team, len(data), field="body")
            made = UploadRow(
                version_id=row.id, file=file, number=piece, sha256=digest, bytes=len(data)
            )
        # The object first: a row whose object is not there yet would be ingested without it.
        self._objects.put(upload_key(made), data)
        with self._database.transaction() as session:
            row = self._open(session, team, name, number, file, piece, digest)
            if row is not None:
                session.merge(made)

    def _open(
        self,
        session: Session,
        team: str,
        name: str,
        number: int,
        file: str,
        piece: int,
        digest: str,
    ) -> VersionRow | None:
        """The version if it takes the piece, `None` if it has it already; else a refusal."""
        row = version_row(session, dataset_row(session, team, name), number)
        session.refresh(row, with_for_update=True)
        held = session.get(UploadRow, (row.id, file, piece))
        if held is not None and held.sha256 == digest:
            return None
        if row.state != "open":
            raise Conflict(
                f"version {number} of {name} is {row.state}, not open",
                fix="open a new version for more data",
            )
        if row.origin or bool(file) != bool(row.format):
            takes = "files" if row.format else "parts of raw samples"
            raise Conflict(
                f"version {number} of {name} takes "
                + ("nothing: it is registered in place" if row.origin else takes),
                field="format",
                fix="open a version whose format says what is sent",
            )
        return row


def pieces(session: Session, version_id: int) -> Iterator[UploadRow]:
    """A version's pieces in the order in which they are put together."""
    yield from session.scalars(
        select(UploadRow)
        .where(UploadRow.version_id == version_id)
        .order_by(UploadRow.file, UploadRow.number)
    )


def upload_key(row: UploadRow) -> str:
    """Where a piece lies until the version is ready."""
    name = hashlib.sha256(row.file.encode()).hexdigest()[:16] if row.file else "parts"
    return f"uploads/{row.version_id}/{name}/{row.number:06d}-{row.sha256[:16]}"


def _fits(data: bytes) -> None:
    if len(data) > MAX_PIECE_BYTES:
        raise TooLarge(
            f"a piece has at most {MAX_PIECE_BYTES:,} bytes", fix="send more, smaller pieces"
        )
