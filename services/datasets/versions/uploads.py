"""Uploads: pieces of a version, each sent until the store has it.

A restarted client lists the stored pieces and sends the rest; sending a piece again changes
nothing. Pieces are parts of raw samples (`file` is "") or pieces of unmodified files.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.contents import Received
from services.chassis.web.errors import Conflict, Invalid
from services.chassis.web.paging import Page
from services.datasets.governance.quotas import Storage
from services.datasets.lookup import dataset_row, locked_version, version_row
from services.datasets.tables import UploadRow, VersionRow
from vila2.data.errors import ShardError
from vila2.data.readers.files.tree import ODD, TREE, is_sent
from vila2.data.tar.reading import members_of
from vila2.schemas.rest import datasets as api


@dataclass(frozen=True, slots=True)
class Piece:
    """Identifies a piece of a version; `file` is empty for a part of raw samples."""

    team: str
    dataset: str
    version: int
    file: str
    number: int


class Uploads:
    """Owns the table `uploads` and the objects below `uploads/`."""

    def __init__(self, database: Database, objects: ObjectStore, storage: Storage) -> None:
        self._database, self._objects, self._storage = database, objects, storage

    def expect(self, piece: Piece, size: int) -> None:
        """Raise early, before a piece is received, if it would be rejected."""
        _check_name(piece.file)
        with self._database.transaction() as session:
            if self._open(session, piece) is not None:
                self._storage.check(session, piece.team, size, field="body")

    def put_part(self, piece: Piece, body: Received) -> None:
        """Store a tar of raw samples."""
        try:
            with body.path.open("rb") as tar:
                for _ in members_of(tar):
                    pass
        except ShardError as error:
            raise Invalid(str(error), field="body", fix=error.fix or "send a plain tar") from error
        self.put_piece(piece, body)

    def put_piece(self, piece: Piece, body: Received) -> None:
        """Store a piece of a file; pieces are joined in the order of their numbers."""
        with self._database.transaction() as session:
            row = self._open(session, piece, body.sha256)
            if row is None:
                return
            held = self._storage.reserve(session, piece.team, body.bytes, field="body")
            made = UploadRow(
                version_id=row.id,
                file=piece.file,
                number=piece.number,
                sha256=body.sha256,
                bytes=body.bytes,
            )
        try:
            # The object first: ingest must not find a row whose object is missing.
            self._objects.put_file(upload_key(made), body.path)
            with self._database.transaction() as session:
                self._storage.release(session, held)
                if self._open(session, piece, body.sha256) is not None:
                    session.merge(made)
        except Exception:
            with self._database.transaction() as session:
                self._storage.release(session, held)
            raise

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
        """Remove uploads of ready versions, whose samples are now in shards."""
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

    def _open(self, session: Session, piece: Piece, sha256: str = "") -> VersionRow | None:
        """The version if it accepts the piece, `None` if it already has it; otherwise raises.

        Without a digest any content of the piece counts as the one that it has.
        """
        dataset = dataset_row(session, piece.team, piece.dataset)
        row = locked_version(session, dataset, piece.version)
        held = session.get(UploadRow, (row.id, piece.file, piece.number))
        if held is not None and sha256 in ("", held.sha256):
            return None
        if row.state != "open":
            raise Conflict(
                f"version {piece.version} of {piece.dataset} is {row.state}, not open",
                fix="open a new version for more data",
            )
        if row.origin or bool(piece.file) != bool(row.format):
            takes = "files" if row.format else "parts of raw samples"
            raise Conflict(
                f"version {piece.version} of {piece.dataset} takes "
                + ("nothing: it is registered in place" if row.origin else takes),
                field="format",
                fix="open a version whose format says what is sent",
            )
        return row


def pieces(session: Session, version_id: int) -> Iterator[UploadRow]:
    """A version's pieces in the order in which they are joined."""
    yield from session.scalars(
        select(UploadRow)
        .where(UploadRow.version_id == version_id)
        .order_by(UploadRow.file, UploadRow.number)
    )


def upload_key(row: UploadRow) -> str:
    """Object key of a piece until the version is ready."""
    name = hashlib.sha256(row.file.encode()).hexdigest()[:16] if row.file else "parts"
    return f"uploads/{row.version_id}/{name}/{row.number:06d}-{row.sha256[:16]}"


def _check_name(file: str) -> None:
    """Raise `Invalid` unless a file's name is a plain relative path; a part has none."""
    if file and not is_sent(file):
        raise Invalid(
            f"{file[:200]!r} is not a plain relative path",
            field="file",
            fix="use names of at most 300 characters (200 in each part) without .., leading dots, "
            f"backslashes or control characters, or send the file as {ODD}/1 and list its name in "
            f"{TREE}",
        )
