"""Takedowns: remove an image from every version and layer, and from all future ones.

A takedown is the only change ever made to a ready version. It proceeds shard by shard: write new
objects, switch to them and extend the record in one transaction, then delete the old objects. An
interrupted run resumes, because a finished shard no longer contains the image.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.exc import NoResultFound
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.sources import IN_PLACE
from services.chassis.web.errors import Invalid, NotFound
from services.chassis.web.paging import Page
from services.chassis.work.units import FAILED, Claim, WorkUnits
from services.chassis.work.worker import Report
from services.datasets.governance.effects import Effects
from services.datasets.governance.erasure import Erased, Erasing
from services.datasets.layers.layers import Layers
from services.datasets.lookup import (
    GONE,
    each_shard,
    named_version,
    shards_of,
    version_ever,
    version_name,
)
from services.datasets.manifests import dataset_manifest, digest_of, put_manifest, shard_ref
from services.datasets.tables import (
    DatasetRow,
    ExportRow,
    LayerRow,
    LayerShardRow,
    ShardRow,
    TakedownRow,
    VersionRow,
    WorkUnitRow,
)
from services.datasets.versions.content import index_rows
from services.datasets.versions.sample_lookup import find_sample
from services.datasets.versions.shard_objects import ShardObjects, lock_object
from services.identity.require_scope import Principal
from vila2.client import Client
from vila2.data.errors import Damaged
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest import datasets as api
from vila2.schemas.rest.base import Progress

TAKEDOWN_TASK = "datasets.takedown"


class Takedowns:
    """Owns the table `takedowns`, and updates rows of shards and layers that held an image."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        units: WorkUnits,
        layers: Layers,
        platform: Callable[[str], Client],
    ) -> None:
        self._database, self._objects, self._units = database, objects, units
        self._layers, self._platform = layers, platform
        self._erasing = Erasing(objects)
        self._shard_objects = ShardObjects(database, objects)

    def start(self, caller: Principal, body: api.TakedownIn) -> api.Takedown:
        """Start a takedown; for an image that already has one, returns that."""
        digest = body.sha256 or self._digest(caller.team, body)
        with self._database.transaction() as session:
            lock_takedowns(session, caller.team)
            known = session.scalar(
                select(TakedownRow).where(
                    TakedownRow.team == caller.team, TakedownRow.sha256 == digest
                )
            )
            if known is not None:
                self._units.retry(session, known.id)
                return self._takedown(session, known)
            row = TakedownRow(
                id=f"takedown-{uuid.uuid4().hex[:12]}",
                team=caller.team,
                sha256=digest,
                reason=body.reason,
                requested_by=body.requested_by,
                by_key=caller.key,
                state="running",
                effects={},
            )
            session.add(row)
            unit = WorkUnitRow(
                id=row.id, task=TAKEDOWN_TASK, subject=row.id, payload={"takedown": row.id}
            )
            self._units.add(session, [unit])
            session.flush()
            return self._takedown(session, row)

    def get(self, team: str, takedown: str) -> api.Takedown:
        """The record of a takedown; raises `NotFound`."""
        with self._database.transaction() as session:
            row = session.get(TakedownRow, takedown)
            if row is None or row.team != team:
                raise NotFound(f"no take-down {takedown!r}", field="takedown")
            return self._takedown(session, row)

    def of_team(self, team: str, page: Page) -> list[api.Takedown]:
        """The team's takedowns, newest first."""
        chosen, at = select(TakedownRow).where(TakedownRow.team == team), TakedownRow.created_at
        with self._database.reading() as session:
            rows = page.rows(session, chosen, at, TakedownRow.id, newest_first=True)
            return [self._takedown(session, row) for row in rows]

    def run(self, claim: Claim, report: Report) -> None:
        """Remove the image from every ready version of the team, then close the record."""
        with self._database.transaction() as session:
            row = session.get_one(TakedownRow, claim.payload["takedown"])
            versions = session.scalars(
                select(VersionRow)
                .join(DatasetRow, DatasetRow.id == VersionRow.dataset_id)
                .where(DatasetRow.team == row.team, VersionRow.state == "ready")
                .order_by(VersionRow.id)
            ).all()
        seen = 0
        for version in versions:
            with self._database.reading() as session:
                name = version_name(session, version.id)
            try:
                for shard in each_shard(self._database, version.id):
                    held = index_rows(self._objects, name, shard, ("sha256",))
                    if any(sample["sha256"] == row.sha256 for sample in held):
                        self._take_out(row, name, shard)
                    seen += 1
                    report(seen)
            except (Damaged, NoResultFound):
                if not self._is_gone(version.id):
                    raise
        self._sweep(row.id)
        self._close(row, claim)

    def _is_gone(self, version_id: int) -> bool:
        """Whether the version is being deleted, and the image with it."""
        with self._database.reading() as session:
            return session.get_one(VersionRow, version_id).state in GONE

    def _digest(self, team: str, body: api.TakedownIn) -> str:
        if not body.dataset or not body.key:
            raise Invalid(
                "neither a digest nor a sample is named",
                field="sha256",
                fix="give sha256, or dataset and key",
            )
        with self._database.transaction() as session:
            version = named_version(session, team, DatasetRef.parse(body.dataset))
            shards = shards_of(session, version.id)
        _, held = find_sample(self._objects, shards, body.dataset, body.key)
        return str(held["sha256"])

    def _take_out(self, row: TakedownRow, name: str, shard: ShardRow) -> None:
        """Write objects without the image, then point the rows to them in one transaction."""
        version_id = shard.version_id
        with self._database.transaction() as session:
            layers = session.scalars(
                select(LayerShardRow)
                .join(LayerRow, LayerRow.id == LayerShardRow.layer_id)
                .where(LayerRow.version_id == version_id, LayerShardRow.number == shard.number)
            ).all()
        erased = self._erasing.shard(name, shard, row.sha256)
        captions = {
            held.layer_id: self._erasing.captions(held, row.sha256, row.id) for held in layers
        }
        crashpoint("takedown.written")
        with self._database.transaction() as session:
            lock_object(session, erased.object_key)
            if not self._objects.exists(erased.object_key):
                # Another takedown deleted it between the copy and the lock.
                raise RuntimeError(f"shard {shard.number} must be copied again")
            version = session.get_one(VersionRow, version_id, with_for_update=True)
            _point_to(session, shard, erased)
            version.samples -= erased.samples
            version.bytes += erased.bytes - shard.bytes
            version.taken_down = (version.taken_down or 0) + erased.samples
            dataset = session.get_one(DatasetRow, version.dataset_id)
            effects = Effects(session.get_one(TakedownRow, row.id))
            effects.add(samples=erased.samples, version=DatasetRef(dataset.name, version.number))
            effects.drop(shard.object_key, *erased.drop)
            if shard.object_key.startswith(f"{IN_PLACE}/"):
                effects.left(shard.object_key.removeprefix(f"{IN_PLACE}/").rsplit("/", 1)[0])
            for held in layers:
                new = captions[held.layer_id]
                layer = session.get_one(LayerRow, held.layer_id, with_for_update=True)
                layer.captioned += new.captioned - held.captioned
                layer.quarantined = dict(
                    Counter(layer.quarantined)
                    - Counter(held.quarantined)
                    + Counter(new.quarantined)
                )
                kept = session.get_one(LayerShardRow, (held.layer_id, held.number))
                kept.object_key, kept.sha256 = new.object_key, new.sha256
                kept.captioned, kept.quarantined = new.captioned, dict(new.quarantined)
                effects.add(captions=erased.samples, layer=held.layer_id)
                effects.drop(held.object_key)
        crashpoint("takedown.recorded")
        self._sweep(row.id)

    def _sweep(self, takedown: str) -> None:
        """Delete objects that no row refers to any more."""
        with self._database.transaction() as session:
            dropped = list(session.get_one(TakedownRow, takedown).effects.get("drop", []))
        # Another team's version may use the same object.
        used = self._shard_objects.delete_unused(dropped)
        with self._database.transaction() as session:
            row = session.get_one(TakedownRow, takedown)
            row.effects = {**row.effects, "drop": used}

    def _close(self, row: TakedownRow, claim: Claim) -> None:
        """Rewrite the manifests, and record earlier exports, models and uploads with the image."""
        models = self._platform(row.team).training.models()
        self._rewrite_manifests(row)
        with self._database.transaction() as session:
            held = session.get_one(TakedownRow, row.id)
            effects = Effects(held)
            named = {*effects.versions, *(version.name for version in effects.versions)}
            named |= set(effects.layers)
            for name in effects.versions:
                version = version_ever(session, row.team, name)
                exports = session.scalars(
                    select(ExportRow.id).where(
                        ExportRow.version_id == version.id, ExportRow.created_at < row.created_at
                    )
                )
                effects.extend("exports", exports)
            effects.extend("models", [m.name for m in models if named & set(m.data)])
            unfinished = session.execute(
                select(DatasetRow.name, VersionRow.number)
                .join(VersionRow, VersionRow.dataset_id == DatasetRow.id)
                .where(DatasetRow.team == row.team, VersionRow.state.in_(("open", "failed")))
            )
            for dataset, number in unfinished:
                ref = DatasetRef(dataset, number)
                effects.left(f"uploads of {ref}, which was never finished, if it holds it")
            if self._units.complete(session, claim, {"samples": effects.samples}):
                held.state = "done"

    def _rewrite_manifests(self, row: TakedownRow) -> None:
        """Rewrite manifests outside any transaction, since it is slow for large datasets."""
        with self._database.transaction() as session:
            effects = Effects(session.get_one(TakedownRow, row.id))
            versions = [version_ever(session, row.team, name) for name in effects.versions]
            layers = [session.get(LayerRow, layer) for layer in effects.layers]
        for version in versions:
            if version.state == "ready":  # else it was deleted since
                self._write_manifest(version.id)
        for layer in layers:
            if layer is not None and layer.state != "open":
                self._layers.write_manifest(layer.id)

    def _write_manifest(self, version_id: int) -> None:
        digest = digest_of(each_shard(self._database, version_id))
        with self._database.transaction() as session:
            version = session.get_one(VersionRow, version_id)
            dataset = session.get_one(DatasetRow, version.dataset_id)
            version.sha256 = digest
        manifest = dataset_manifest(
            dataset,
            version,
            samples=version.samples,
            sha256=digest,
            rejected=version.rejected,
        )
        shards = map(shard_ref, each_shard(self._database, version_id))
        put_manifest(self._objects, f"datasets/{version_id}/manifest.json", manifest, shards)

    def _takedown(self, session: Session, row: TakedownRow) -> api.Takedown:
        unit = session.get(WorkUnitRow, row.id)
        failed = unit is not None and unit.state == FAILED
        shown = {k: v for k, v in (row.effects or {}).items() if k != "drop"}
        return api.Takedown(
            id=row.id,
            sha256=row.sha256,
            reason=row.reason,
            requested_by=row.requested_by,
            state="failed" if failed else row.state,
            error=unit.error if failed and unit is not None else "",
            created_at=row.created_at,
            progress=Progress(done=(unit.progress or 0) if unit else 0, unit="shards"),
            **shown,
        )


def lock_takedowns(session: Session, team: str) -> None:
    """Block new takedowns of the team until this transaction ends."""
    exclusively(session, f"takedowns:{team}")


def _point_to(session: Session, shard: ShardRow, erased: Erased) -> None:
    row = session.get_one(ShardRow, (shard.version_id, shard.number))
    row.object_key, row.index_key = erased.object_key, erased.index_key
    row.sha256, row.bytes = erased.sha256, erased.bytes
    row.samples -= erased.samples
