"""Records of exports, including the reason for exporting a layer that is not sealed."""

from __future__ import annotations

import uuid

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.web.errors import Conflict, NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.chassis.web.paging import Page
from services.datasets.lookup import layer_row, ready_version
from services.datasets.tables import DatasetRow, ExportRow, VersionRow
from services.identity.require_scope import Principal
from vila2.schemas.rest import datasets as api


class Exports:
    """Owns the table `exports`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, caller: Principal, body: api.ExportIn, token: str | None = None) -> api.Export:
        """Record an export; the same `token` and request return the same record.

        Raises `NotFound` if the dataset or layer is unknown. Raises `Conflict` if the version is
        not ready, or if the layer belongs to another version, is withdrawn, or is not sealed and
        `body` has no waiver.
        """
        asked = KeyedRequest.of(token, body)

        def found_or_made(session: Session) -> api.Export:
            known = asked.find(session, ExportRow, team=caller.team)
            if known is not None:
                return _export(session, known)
            version = ready_version(session, caller.team, body.dataset, body.version)
            layer = layer_row(session, caller.team, body.layer) if body.layer else None
            if layer is not None and layer.version_id != version.id:
                raise Conflict(
                    f"layer {body.layer} belongs to another version of the dataset",
                    field="layer",
                    fix="export the layer's own version",
                )
            if layer is not None and layer.state == "withdrawn":
                raise Conflict(f"layer {layer.id} is withdrawn", fix="restore it first")
            if layer is not None and layer.state != "sealed" and not body.waiver.strip():
                raise Conflict(
                    f"layer {layer.id} is not sealed: some of its captions are missing",
                    field="waiver",
                    fix="wait until it is, or give the reason in `waiver`; it is recorded",
                )
            row = ExportRow(
                id=f"export-{uuid.uuid4().hex[:12]}",
                team=caller.team,
                **asked.columns,
                version_id=version.id,
                layer_id=layer.id if layer is not None else "",
                format=body.format,
                text=body.text,
                # A waiver is recorded only if it was needed.
                waiver=body.waiver.strip() if layer is not None and layer.state == "open" else "",
                by_key=caller.key,
            )
            session.add(row)
            session.flush()
            return _export(session, row)

        return create_once(self._database, found_or_made)

    def of_team(self, team: str, page: Page) -> list[api.Export]:
        """The team's exports, newest first."""
        chosen, at = select(ExportRow).where(ExportRow.team == team), ExportRow.created_at
        with self._database.reading() as session:
            rows = page.rows(session, chosen, at, ExportRow.id, newest_first=True)
            return [_export(session, row) for row in rows]

    def check_readable(self, team: str, layer: api.Layer, export: str) -> None:
        """Raise `Conflict` unless the layer is sealed or the export has a waiver for it.

        Raises `NotFound` if `export` is given and is not one of the team's.
        """
        if layer.state == "sealed":
            return
        with self._database.transaction() as session:
            row = session.get(ExportRow, export) if export else None
            if export and (row is None or row.team != team):
                raise NotFound(f"no export {export!r}", field="export")
            if row is None or row.layer_id != layer.id or not row.waiver:
                raise Conflict(
                    f"layer {layer.id} is {layer.state}, not sealed",
                    field="export",
                    fix="wait until it is, or export it with a waiver",
                )


def _export(session: Session, row: ExportRow) -> api.Export:
    version = session.get_one(VersionRow, row.version_id)
    return api.Export(
        id=row.id,
        dataset=session.get_one(DatasetRow, version.dataset_id).name,
        version=version.number,
        layer=row.layer_id,
        format=row.format,
        text=row.text,
        waiver=row.waiver,
        by_key=row.by_key,
        created_at=row.created_at,
    )
