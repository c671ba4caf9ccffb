"""Caption layers: opened by a captioning job, filled shard by shard, sealed when complete."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore, checked
from services.chassis.web.errors import Conflict, Invalid, NotFound
from services.chassis.web.idempotency import KeyedRequest, create_once
from services.chassis.web.paging import Page
from services.datasets.governance.history import record
from services.datasets.lookup import PAGE, layer_row, ready_version
from services.datasets.manifests import layer_manifest, layer_shard_ref, put_manifest
from services.datasets.tables import (
    DatasetRow,
    LayerRow,
    LayerShardRow,
    ShardRow,
    TakedownRow,
    VersionRow,
)
from services.identity.require_scope import Principal
from vila2.data.layers import decode_layer_shard, encode_layer_shard
from vila2.schemas.rest import datasets as api


class Layers:
    """Owns the tables `layers` and `layer_shards`; takedowns also update them."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database, self._objects = database, objects

    def open(self, team: str, body: api.LayerIn, token: str | None = None) -> api.Layer:
        """Open a layer over a ready version; idempotent by `token`."""
        asked = KeyedRequest.of(token, body)

        def found_or_made(session: Session) -> api.Layer:
            known = asked.find(session, LayerRow, team=team)
            if known is not None:
                return _layer(session, known)
            version = ready_version(session, team, body.dataset, body.version)
            # A deletion of the version either sees this layer or comes first.
            session.refresh(version, with_for_update={"read": True})
            version = ready_version(session, team, body.dataset, version.number)
            row = LayerRow(
                id=f"layer-{uuid.uuid4().hex[:12]}",
                version_id=version.id,
                team=team,
                **asked.columns,
                name=body.name,
                recipe_hash=body.recipe_hash,
                captioner=body.captioner,
                state="open",
            )
            session.add(row)
            session.flush()
            return _layer(session, row)

        return create_once(self._database, found_or_made)

    def get(self, team: str, layer_id: str) -> api.Layer:
        """A layer by id, or the newest sealed one of that name."""
        with self._database.reading() as session:
            return _layer(session, layer_row(session, team, layer_id))

    def of_team(self, team: str, page: Page) -> list[api.Layer]:
        """The team's layers, oldest first."""
        chosen = select(LayerRow).where(LayerRow.team == team)
        with self._database.reading() as session:
            rows = page.rows(session, chosen, LayerRow.created_at, LayerRow.id)
            return [_layer(session, row) for row in rows]

    def shards(self, team: str, layer_id: str, page: Page) -> list[api.LayerShard]:
        """The recorded caption objects by shard, in order."""
        with self._database.reading() as session:
            row = layer_row(session, team, layer_id)
            chosen = select(LayerShardRow).where(LayerShardRow.layer_id == row.id)
            return [_shard(shard) for shard in page.rows(session, chosen, LayerShardRow.number)]

    def shard(self, team: str, layer_id: str, number: int) -> api.LayerShard:
        """The caption object of one shard; raises `NotFound`."""
        with self._database.reading() as session:
            row = session.get(LayerShardRow, (layer_row(session, team, layer_id).id, number))
            if row is None:
                raise NotFound(f"layer {layer_id} has no shard {number} yet", field="number")
            return _shard(row)

    def put_shards(self, team: str, layer_id: str, bodies: Sequence[api.LayerShard]) -> api.Layer:
        """Record the captions of shards, all or none; the first record of a shard wins."""
        given = {body.number: body for body in bodies}
        with self._database.reading() as session:
            row = layer_row(session, team, layer_id)
            held = _numbered(session, LayerShardRow, LayerShardRow.layer_id, row.id, given)
        # Recorded shards are not checked again: a takedown may have replaced their objects.
        new = {number: body for number, body in sorted(given.items()) if number not in held}
        for body in new.values():
            self._check_object(row, body)
        with self._database.transaction() as session:
            row = _locked(session, row.id)
            shards = _numbered(session, ShardRow, ShardRow.version_id, row.version_id, new)
            held = _numbered(session, LayerShardRow, LayerShardRow.layer_id, row.id, new)
            quarantined = Counter(row.quarantined)
            rows: list[dict[str, Any]] = []
            for number, body in new.items():
                if number not in shards:
                    raise NotFound(f"the dataset version has no shard {number}", field="shard")
                if number in held:
                    continue
                if row.state != "open":
                    raise Conflict(f"layer {layer_id} is {row.state}")
                counted = self._accounted(session, team, shards[number], body)
                rows.append({"layer_id": row.id, **counted.model_dump()})
                row.captioned += counted.captioned
                quarantined.update(counted.quarantined)
            if rows:
                session.execute(insert(LayerShardRow), rows)
            row.recorded += len(rows)
            row.quarantined = dict(quarantined)
            return _layer(session, row)

    def seal(self, team: str, layer_id: str) -> api.Layer:
        """Make the layer immutable; refused until every shard is accounted for.

        The manifest is written first, outside any transaction, since that is slow for large layers.
        If a takedown changed the layer in the meantime, it is written again.
        """
        while True:
            with self._database.reading() as session:
                row = layer_row(session, team, layer_id)
                layer = _layer(session, row)
            if layer.recorded < layer.shards:
                raise Conflict(
                    f"layer {layer_id} lacks {layer.shards - layer.recorded} of {layer.shards} "
                    "shards",
                    fix="wait for its captions, or retry those that failed",
                )
            if row.state != "open":
                return layer
            self.write_manifest(row.id)
            with self._database.transaction() as session:
                row = _locked(session, row.id)
                now = _layer(session, row)
                if now == layer:
                    row.state = "sealed"
                    return _layer(session, row)

    def withdraw(self, caller: Principal, layer_id: str, reason: str) -> api.Layer:
        """Take a sealed layer out of use: it is not found by name and not trained on."""
        return self._move(caller, layer_id, "sealed", "withdrawn", reason)

    def restore(self, caller: Principal, layer_id: str, reason: str) -> api.Layer:
        """Put a withdrawn layer back into use."""
        return self._move(caller, layer_id, "withdrawn", "sealed", reason)

    def write_manifest(self, layer_id: str) -> None:
        """Write the layer's manifest beside its captions."""
        with self._database.reading() as session:
            row = session.get_one(LayerRow, layer_id)
            layer = _layer(session, row)
        shards = (layer_shard_ref(shard) for shard in self._each_shard(layer_id))
        head = layer_manifest(row, layer.dataset, layer.version)
        put_manifest(self._objects, f"layers/{row.id}/manifest.json", head, shards)

    def _each_shard(self, layer_id: str) -> Iterator[LayerShardRow]:
        """A layer's shards in order, read in pages."""
        after = -1
        while True:
            with self._database.reading() as session:
                page = session.scalars(
                    select(LayerShardRow)
                    .where(LayerShardRow.layer_id == layer_id, LayerShardRow.number > after)
                    .order_by(LayerShardRow.number)
                    .limit(PAGE)
                ).all()
            yield from page
            if len(page) < PAGE:
                return
            after = page[-1].number

    def _move(
        self, caller: Principal, layer_id: str, state: str, to: str, reason: str
    ) -> api.Layer:
        with self._database.transaction() as session:
            row = _locked(session, layer_row(session, caller.team, layer_id).id)
            if row.state == state:
                row.state = to
                record(session, caller, f"layer-{to}", row.id, reason)
            elif row.state != to:
                raise Conflict(f"layer {layer_id} is {row.state}, not {state}", fix="seal it first")
            return _layer(session, row)

    def _accounted(
        self, session: Session, team: str, shard: ShardRow, body: api.LayerShard
    ) -> api.LayerShard:
        """Check that `body` covers every sample; drops samples taken down in the meantime."""
        counts = (body.captioned, *body.quarantined.values())
        if min(counts) < 0:
            raise Invalid("a count is below zero", field="captioned", fix="count again")
        if sum(counts) == shard.samples:
            return body
        gone = set(session.scalars(select(TakedownRow.sha256).where(TakedownRow.team == team)))
        if gone and sum(counts) > shard.samples:
            rows = decode_layer_shard(self._objects.get(body.object_key))
            kept = [row for row in rows if row.sha256 not in gone]
            if len(kept) == shard.samples:
                data, summary = encode_layer_shard(kept)
                self._objects.put(body.object_key, data)
                return api.LayerShard(
                    number=body.number,
                    object_key=body.object_key,
                    sha256=summary.sha256,
                    captioned=summary.captioned,
                    quarantined=dict(summary.quarantined),
                )
        raise Invalid(
            f"shard {shard.number} has {shard.samples} samples, {sum(counts)} are accounted for",
            field="captioned",
            fix="caption or quarantine every sample",
        )

    def _check_object(self, row: LayerRow, body: api.LayerShardIn) -> None:
        """Refuse keys outside the layer's own prefix: they could belong to another team."""
        try:
            own = checked(body.object_key).startswith(f"layers/{row.id}/")
        except ValueError:
            own = False
        if not own or not self._objects.exists(body.object_key):
            raise Invalid(
                f"there is no object {body.object_key!r} of this layer",
                field="object_key",
                fix=f"write the captions below layers/{row.id}/ first",
            )


def _locked(session: Session, layer_id: str) -> LayerRow:
    """The layer, unchanged by others until this transaction ends; it may have been deleted."""
    chosen = select(LayerRow).where(LayerRow.id == layer_id).with_for_update()
    row = session.scalar(chosen.execution_options(populate_existing=True))
    if row is None:
        raise NotFound(f"layer {layer_id} was deleted", field="layer")
    return row


def _numbered(
    session: Session, table: type[Any], column: Any, of: Any, numbers: Iterable[int]
) -> dict[int, Any]:
    """The rows of a version or layer with these shard numbers, keyed by number."""
    rows = session.scalars(select(table).where(column == of, table.number.in_(list(numbers))))
    return {row.number: row for row in rows}


def _layer(session: Session, row: LayerRow) -> api.Layer:
    version = session.get_one(VersionRow, row.version_id)
    dataset = session.get_one(DatasetRow, version.dataset_id)
    return api.Layer(
        id=row.id,
        name=row.name,
        dataset=dataset.name,
        version=version.number,
        recipe_hash=row.recipe_hash,
        captioner=row.captioner,
        state=row.state,
        captioned=row.captioned or 0,
        quarantined=row.quarantined or {},
        shards=version.shards or 0,
        recorded=row.recorded or 0,
        created_at=row.created_at,
    )


def _shard(row: LayerShardRow) -> api.LayerShard:
    return api.LayerShard(
        number=row.number,
        object_key=row.object_key,
        sha256=row.sha256,
        captioned=row.captioned,
        quarantined=row.quarantined,
    )
