"""Models from elsewhere until they are registered: declared files and received pieces."""

from __future__ import annotations

import contextlib
import uuid
from pathlib import Path

from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.sources import Sources
from services.chassis.web.contents import Received
from services.chassis.web.errors import Conflict, Invalid, NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.training.registry.registry import named_by_team
from services.training.tables import ModelImportRow, ModelRow
from vila2.schemas.rest import model_imports as api

UPLOADING, WAITING, WORKING, READY, FAILED = (
    "uploading", "waiting", "working", "ready", "failed",
)  # fmt: skip


class ModelImports:
    """Owns the table `model_imports` and the objects below `model-uploads/`."""

    def __init__(self, database: Database, objects: ObjectStore, sources: Sources) -> None:
        self._database, self._objects, self._sources = database, objects, sources

    def start(self, team: str, body: api.ModelIn, token: str | None = None) -> api.ModelImport:
        """Begin an import, or continue one of the same files that is in progress."""
        if body.objects:
            self._sources.check(source_of(body.objects)[0], team)
        asked = KeyedRequest.of(token or KeyedRequest.of(None, body, "import").fingerprint, body)

        def found_or_made(session: Session) -> api.ModelImport:
            exclusively(session, f"model-name:{team}:{body.name}")
            row = asked.find(session, ModelImportRow, team=team)
            if row is not None and (row.state == FAILED or _gone(session, row)):
                # The same request again: the cause of the failure may have been fixed.
                row.state, row.error = (UPLOADING if body.files else WAITING), ""
            if row is None:
                taken = named_by_team(session, team, body.name)
                if taken is not None:
                    raise Conflict(
                        f"the name {body.name} is taken by {taken.name}",
                        field="name",
                        fix="give another name",
                    )
                row = ModelImportRow(
                    id=f"import-{uuid.uuid4().hex[:12]}",
                    team=team,
                    **asked.columns,
                    name=body.name,
                    body=body.model_dump(mode="json"),
                    state=UPLOADING if body.files else WAITING,
                )
                session.add(row)
                session.flush()
            return self._import(row)

        return create_once(self._database, found_or_made)

    def get(self, team: str, import_id: str) -> api.ModelImport:
        """An import, and the pieces that are still missing."""
        with self._database.reading() as session:
            return self._import(_row(session, team, import_id))

    def expect(self, team: str, import_id: str, file: str, piece: int) -> int:
        """The piece's size in bytes; raises before it is received if it is not expected."""
        with self._database.reading() as session:
            row = _row(session, team, import_id)
            if row.state != UPLOADING:
                raise Conflict(f"{import_id} is {row.state}: it takes no files", field="import")
            files = {held.name: held for held in _body(row).files}
        if file not in files:
            raise NotFound(f"{import_id} has no file {file!r}", field="file")
        if not 0 <= piece < files[file].pieces:
            raise NotFound(f"{file} has {files[file].pieces} pieces", field="piece")
        return min(api.PIECE_BYTES, files[file].bytes - piece * api.PIECE_BYTES)

    def put_piece(self, team: str, import_id: str, file: str, piece: int, body: Received) -> None:
        """Store a piece of a file; storing it again has no effect."""
        size = self.expect(team, import_id, file, piece)
        if body.bytes != size:
            raise Invalid(
                f"piece {piece} of {file} has {body.bytes:,} bytes instead of {size:,}",
                field="body",
                fix=f"send pieces of {api.PIECE_BYTES:,} bytes, the last one shorter",
            )
        self._objects.put_file(piece_key(import_id, file, piece), body.path)

    def finish(self, team: str, import_id: str) -> api.ModelImport:
        """Queue a complete upload for checking and registration."""
        with self._database.transaction() as session:
            row = session.get(ModelImportRow, import_id, with_for_update=True)
            if row is None or row.team != team:
                raise _unknown(import_id)
            if row.state == UPLOADING:
                missing = self._missing(row)
                if missing:
                    raise Conflict(
                        f"{missing[0].name} is not complete",
                        field="import",
                        fix="send the missing pieces first",
                    )
                row.state = WAITING
            return self._import(row)

    def join(self, import_id: str, file: api.WeightFile, folder: Path) -> None:
        """Write a file from its pieces; raises `KeyError` if one is missing."""
        with (folder / file.name).open("wb") as out:
            for piece in range(file.pieces):
                out.write(self._objects.get(piece_key(import_id, file.name, piece)))

    def clear(self, import_id: str) -> None:
        """Delete the pieces."""
        for key in list(self._objects.keys(f"model-uploads/{import_id}")):
            with contextlib.suppress(KeyError):
                self._objects.delete(key)

    def _import(self, row: ModelImportRow) -> api.ModelImport:
        return api.ModelImport(
            id=row.id,
            name=row.name,
            state=row.state,
            phase=row.phase,
            model=row.model,
            answer=row.answer,
            error=row.error,
            missing=self._missing(row) if row.state == UPLOADING else [],
            sha256=row.sha256,
        )

    def _missing(self, row: ModelImportRow) -> list[api.MissingPieces]:
        held = set(self._objects.keys(f"model-uploads/{row.id}"))
        found = []
        for file in _body(row).files:
            absent = [n for n in range(file.pieces) if piece_key(row.id, file.name, n) not in held]
            if absent:
                found.append(api.MissingPieces(name=file.name, pieces=absent))
        return found


def piece_key(import_id: str, file: str, piece: int) -> str:
    """Object key of a piece."""
    return f"model-uploads/{import_id}/{file}/{piece:06d}"


def source_of(objects: str) -> tuple[str, str]:
    """Source and prefix of s3://SOURCE/PREFIX."""
    source, _, prefix = objects.removeprefix("s3://").partition("/")
    return source, prefix.rstrip("/")


def _gone(session: Session, row: ModelImportRow) -> bool:
    """Whether the model that an import registered was removed since."""
    model = session.get(ModelRow, row.model) if row.state == READY else None
    return row.state == READY and (model is None or model.short_name != row.name)


def _body(row: ModelImportRow) -> api.ModelIn:
    return api.ModelIn.model_validate(row.body)


def _row(session: Session, team: str, import_id: str) -> ModelImportRow:
    row = session.get(ModelImportRow, import_id)
    if row is None or row.team != team:
        raise _unknown(import_id)
    return row


def _unknown(import_id: str) -> NotFound:
    return NotFound(f"no model import {import_id!r}", field="import")
