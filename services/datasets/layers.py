"""Caption layers: opened by whoever captions, filled shard by shard, sealed when complete."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

from google.protobuf import json_format
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.chassis.database import Database
from services.chassis.errors import Conflict, Invalid, NotFound
from services.chassis.objects import ObjectStore, checked
from services.datasets.tables import (
    DatasetRow,
    LayerRow,
    LayerShardRow,
    ShardRow,
    VersionRow,
)
from vila2.api import datasets as api
from vila2.data.layers import CAPTIONED, QUARANTINED, CaptionRow, encode_layer_shard
from vila2.data.shards import read_shard
from vila2.wire.manifests_pb2 import LayerManifest, LayerShardRef


class Layers:
    """Owns the tables `layers` and `layer_shards`."""

    def __init__(self, database: Database, objects: ObjectStore) -> None:
        self._database, self._objects = database, objects

    def open(self, team: str, body: api.LayerIn) -> api.Layer:
        """Open a layer over a ready version; a known token returns its layer."""
        with self._database.transaction() as session:
            if body.token:
                known = session.scalar(
                    select(LayerRow).where(LayerRow.team == team, LayerRow.token == body.token)
                )
                if known is not None:
                    return self._layer(session, known)
            version = _ready_version(session, team, body.dataset, body.version)
            row = LayerRow(
                id=f"layer-{uuid.uuid4().hex[:12]}",
                version_id=version.id,
                team=team,
                token=body.token,
                name=body.name,
                recipe_hash=body.recipe_hash,
                captioner=body.captioner,
                state="open",
            )
            session.add(row)
            session.flush()
            return self._layer(session, row)

    def get(self, team: str, layer_id: str) -> api.Layer:
        """A layer by id, or the newest sealed one of that name."""
        with self._database.transaction() as session:
            return self._layer(session, _layer_row(session, team, layer_id))

    def of_team(self, team: str) -> list[api.Layer]:
        """The team's layers, oldest first."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(LayerRow).where(LayerRow.team == team).order_by(LayerRow.created_at)
            ).all()
            return [self._layer(session, row) for row in rows]

    def put_shard(self, team: str, layer_id: str, number: int, body: api.LayerShardIn) -> api.Layer:
        """Record the captions of one shard; the first record of a shard stays."""
        with self._database.transaction() as session:
            row = _layer_row(session, team, layer_id)
            shard = session.get(ShardRow, (row.version_id, number))
            if shard is None:
                raise NotFound(f"the dataset version has no shard {number}", field="shard")
            self._check_object(row, body)
            counts = (body.captioned, *body.quarantined.values())
            if min(counts) < 0:
                raise Invalid("a count is below zero", field="captioned", fix="count again")
            accounted = sum(counts)
            if accounted != shard.samples:
                raise Invalid(
                    f"shard {number} has {shard.samples} samples, {accounted} are accounted for",
                    field="captioned",
                    fix="caption or quarantine every sample",
                )
            if session.get(LayerShardRow, (row.id, number)) is None:
                if row.state == "sealed":
                    raise Conflict(f"layer {layer_id} is sealed")
                session.add(LayerShardRow(layer_id=row.id, number=number, **body.model_dump()))
                session.flush()
            return self._layer(session, row)

    def seal(self, team: str, layer_id: str) -> api.Layer:
        """Make the layer immutable; refused until every shard is accounted for."""
        with self._database.transaction() as session:
            row = _layer_row(session, team, layer_id)
            layer = self._layer(session, row)
            missing = [number for number, key in enumerate(layer.shards) if not key]
            if missing:
                raise Conflict(
                    f"layer {layer_id} lacks {len(missing)} of {len(layer.shards)} shards",
                    fix="wait for its captions, or retry those that failed",
                )
            if row.state != "sealed":
                row.state = "sealed"
                self._write_manifest(session, row, layer)
            return self._layer(session, row)

    def import_captions(self, team: str, body: api.LayerImport) -> api.Layer:
        """A sealed layer out of another dataset's captions, matched by the pictures' digests."""
        with self._database.transaction() as session:
            donor = _ready_version(session, team, body.from_dataset, 0)
            target = _ready_version(session, team, body.dataset, 0)
            donor_shards, shards = _shards(session, donor.id), _shards(session, target.id)
        token = f"import:{target.id}:{donor.id}:{body.name}"
        captions: dict[str, str] = {}
        for shard in donor_shards:
            for sample in read_shard(self._objects.local(shard.object_key)):
                captions[sample.sha256] = sample.caption
        layer = self.open(
            team,
            api.LayerIn(
                name=body.name,
                dataset=body.dataset,
                version=target.number,
                recipe_hash=f"import-{donor.sha256[:16]}",
                captioner=f"{body.from_dataset}@{donor.number}",
                token=token,
            ),
        )
        if layer.state == "sealed":
            return layer
        for shard in shards:
            rows = [
                _imported(sample.key, sample.sha256, captions, layer.captioner)
                for sample in read_shard(Path(self._objects.local(shard.object_key)))
            ]
            data, summary = encode_layer_shard(rows)
            key = f"layers/{layer.id}/{shard.number:06d}-import.parquet"
            self._objects.put(key, data)
            self.put_shard(
                team,
                layer.id,
                shard.number,
                api.LayerShardIn(
                    object_key=key,
                    sha256=summary.sha256,
                    captioned=summary.captioned,
                    quarantined=dict(summary.quarantined),
                ),
            )
        return self.seal(team, layer.id)

    def _check_object(self, row: LayerRow, body: api.LayerShardIn) -> None:
        """A layer serves its own objects alone: a key from elsewhere could be another team's."""
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

    def _layer(self, session: Session, row: LayerRow) -> api.Layer:
        version = session.get_one(VersionRow, row.version_id)
        dataset = session.get_one(DatasetRow, version.dataset_id)
        count = session.scalar(
            select(func.count()).select_from(ShardRow).where(ShardRow.version_id == version.id)
        )
        keys = [""] * int(count or 0)
        captioned, quarantined = 0, Counter[str]()
        for shard in session.scalars(select(LayerShardRow).where(LayerShardRow.layer_id == row.id)):
            keys[shard.number] = shard.object_key
            captioned += shard.captioned
            quarantined.update(shard.quarantined)
        return api.Layer(
            id=row.id,
            name=row.name,
            dataset=dataset.name,
            version=version.number,
            recipe_hash=row.recipe_hash,
            captioner=row.captioner,
            state=row.state,
            captioned=captioned,
            quarantined=dict(quarantined),
            shards=keys,
        )

    def _write_manifest(self, session: Session, row: LayerRow, layer: api.Layer) -> None:
        held = session.scalars(
            select(LayerShardRow)
            .where(LayerShardRow.layer_id == row.id)
            .order_by(LayerShardRow.number)
        )
        manifest = LayerManifest(
            layer_id=row.id,
            name=row.name,
            dataset=layer.dataset,
            version=layer.version,
            recipe_hash=row.recipe_hash,
            model=row.captioner,
            shards=[
                LayerShardRef(
                    index=shard.number,
                    object_key=shard.object_key,
                    sha256=shard.sha256,
                    captioned=shard.captioned,
                    quarantined=shard.quarantined,
                )
                for shard in held
            ],
        )
        text = json_format.MessageToJson(manifest, sort_keys=True)
        self._objects.put(f"layers/{row.id}/manifest.json", text.encode())


def _imported(key: str, sha256: str, captions: dict[str, str], captioner: str) -> CaptionRow:
    caption = captions.get(sha256, "")
    return CaptionRow(
        key=key,
        sha256=sha256,
        caption=caption,
        status=CAPTIONED if caption else QUARANTINED,
        reason="" if caption else "not-in-import",
        prompt_id="import",
        prompt="",
        model=captioner,
        seed=0,
        attempt=0,
        temperature=0.0,
        tokens=0,
        logprob=0.0,
        finish_reason="stop",
    )


def _shards(session: Session, version_id: int) -> list[ShardRow]:
    return list(
        session.scalars(
            select(ShardRow).where(ShardRow.version_id == version_id).order_by(ShardRow.number)
        )
    )


def _ready_version(session: Session, team: str, name: str, number: int) -> VersionRow:
    dataset = session.scalar(
        select(DatasetRow).where(DatasetRow.team == team, DatasetRow.name == name)
    )
    row = None
    if dataset is not None:
        row = session.scalar(
            select(VersionRow).where(
                VersionRow.dataset_id == dataset.id,
                VersionRow.number == (number or dataset.latest),
                VersionRow.state == "ready",
            )
        )
    if row is None:
        raise NotFound(f"no ready version of dataset {name!r}", field="dataset")
    return row


def _layer_row(session: Session, team: str, layer_id: str) -> LayerRow:
    row = session.scalar(select(LayerRow).where(LayerRow.id == layer_id, LayerRow.team == team))
    if row is None:
        row = session.scalar(
            select(LayerRow)
            .where(LayerRow.name == layer_id, LayerRow.team == team, LayerRow.state == "sealed")
            .order_by(LayerRow.created_at.desc())
        )
    if row is None:
        raise NotFound(f"no layer {layer_id!r}", field="layer", fix="`vila2 captions layers`")
    return row
