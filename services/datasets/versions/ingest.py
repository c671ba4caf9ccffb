"""Ingest: turns a version's uploads into checked, content-addressed shards with indexes."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.telemetry.metrics import SAMPLES_INGESTED
from services.chassis.work.units import Claim, WorkUnits
from services.chassis.work.worker import PermanentError, Report
from services.datasets.governance.takedowns import lock_takedowns
from services.datasets.manifests import dataset_manifest, digest_of, put_manifest, shard_ref
from services.datasets.tables import DatasetRow, ShardRow, TakedownRow, VersionRow
from services.datasets.versions.in_place import InPlace
from services.datasets.versions.incoming import Incoming
from services.datasets.versions.shard_objects import (
    NewShard,
    ShardObjects,
    index_key,
    lock_object,
)
from services.datasets.versions.uploads import Uploads
from vila2.data.admission import Admission
from vila2.data.errors import DataError
from vila2.data.images.in_flight import cores
from vila2.data.index import encode_index
from vila2.data.sample import Sample
from vila2.data.shards import write_shard

INGEST_TASK = "datasets.ingest"


class Ingest:
    """Turns one version's uploads into shards; idempotent."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        units: WorkUnits,
        *,
        incoming: Incoming,
        in_place: InPlace,
        uploads: Uploads,
    ) -> None:
        self._database, self._objects, self._units = database, objects, units
        self._incoming, self._in_place, self._uploads = incoming, in_place, uploads
        self._shard_objects = ShardObjects(database, objects)

    def run(self, claim: Claim, report: Report) -> None:
        """Check every sample, write the shards and the manifest, then mark the version ready."""
        version_id = int(claim.payload["version_id"])
        with self._database.transaction() as session:
            version = session.get_one(VersionRow, version_id)
            dataset = session.get_one(DatasetRow, version.dataset_id)
            gone = _taken_down(session, dataset.team)
        admission = Admission(
            captionless=bool(version.options.get("captionless")),
            decoded=not version.options.get("structure_only"),
            taken_down=gone.__contains__,
            counted=report,
        )
        try:
            with tempfile.TemporaryDirectory(prefix="vila2-ingest-") as scratch:
                shards = []
                for new in self._new_shards(version, admission, Path(scratch), report):
                    if not self._keep(claim, new):
                        return
                    shards.append(new.row)
        except DataError as error:
            self._settle_failed(claim, version_id, str(error))
            raise PermanentError(str(error)) from error
        finally:
            admission.close()
        if not shards:
            reasons = ", ".join(f"{n} {reason}" for reason, n in admission.rejected.most_common())
            message = f"no sample was admitted: {reasons or 'there was none'}"
            self._settle_failed(claim, version_id, message, admission)
            raise PermanentError(message)
        manifest = dataset_manifest(
            dataset,
            version,
            samples=admission.accepted,
            sha256=digest_of(shards),
            rejected=dict(admission.rejected),
        )
        key = f"datasets/{version_id}/manifest.json"
        put_manifest(self._objects, key, manifest, map(shard_ref, shards))
        self._shard_objects.verify(shards)
        crashpoint("ingest.written")
        with self._database.transaction() as session:
            if not self._units.complete(session, claim, {"samples": admission.accepted}):
                return
            lock_takedowns(session, dataset.team)
            if _taken_down(session, dataset.team) != gone:
                raise RuntimeError("an image was taken down while this version was ingested")
            row = session.get_one(VersionRow, version_id)
            left = _remove_shards(session, version_id, first=len(shards))
            _record(row, admission)
            row.state, row.sha256, row.shards = "ready", manifest.sha256, len(shards)
            row.samples, row.bytes = admission.accepted, sum(shard.bytes for shard in shards)
            owner = session.get_one(DatasetRow, row.dataset_id)
            owner.latest = max(owner.latest or 0, row.number)
        self._shard_objects.delete_unused(left)
        SAMPLES_INGESTED.labels("admitted").inc(admission.accepted)
        SAMPLES_INGESTED.labels("rejected").inc(admission.rejected.total())
        self._uploads.sweep(version_id)

    def _keep(self, claim: Claim, new: NewShard) -> bool:
        """Record the shard in SQL, then store its objects; False if the claim was lost."""
        row = new.row
        with self._database.transaction() as session:
            if not self._units.holds(session, claim):
                return False
            lock_object(session, row.object_key)
            # An earlier attempt may have made a different shard, if a takedown began since.
            earlier = session.get(ShardRow, (row.version_id, row.number))
            replaced = [] if earlier is None else [earlier.object_key, earlier.index_key]
            session.merge(row)
        self._shard_objects.store(new)
        self._shard_objects.delete_unused(key for key in replaced if key not in _objects_of(row))
        return True

    def _new_shards(
        self, version: VersionRow, admission: Admission, scratch: Path, report: Report
    ) -> Iterator[NewShard]:
        if version.origin:
            return self._in_place.shards(version, admission)
        return self._shards(version, admission, scratch, report)

    def _shards(
        self, version: VersionRow, admission: Admission, scratch: Path, report: Report
    ) -> Iterator[NewShard]:
        raws = self._incoming.raws(version, scratch, report)
        # Decoding releases the GIL; nothing else here benefits from threads.
        workers = cores() if admission.decoded else 1
        samples = admission.through(raws, workers=workers)
        for number in itertools.count():
            first = next(samples, None)
            if first is None:
                return
            batch = itertools.chain([first], itertools.islice(samples, version.shard_samples - 1))
            yield _new_shard(version, number, batch, scratch)

    def _settle_failed(
        self, claim: Claim, version_id: int, message: str, admission: Admission | None = None
    ) -> None:
        # Failed fetches are retried when the version is sealed again.
        for key in list(self._objects.keys(f"uploads/{version_id}/fetched")):
            self._objects.delete(key)
        with self._database.transaction() as session:
            if not self._units.holds(session, claim):
                return
            left = _remove_shards(session, version_id)
            row = session.get_one(VersionRow, version_id)
            row.state, row.error = "failed", message[:2000]
            if admission is not None:
                _record(row, admission)
        self._shard_objects.delete_unused(left)


def _new_shard(
    version: VersionRow, number: int, samples: Iterator[Sample], scratch: Path
) -> NewShard:
    tar = scratch / "shard.tar"
    with tar.open("wb") as out:
        summary = write_shard(samples, out)
    index = encode_index(summary.index)
    row = ShardRow(
        version_id=version.id,
        number=number,
        object_key=f"shards/{summary.sha256[:2]}/{number:06d}-{summary.sha256}.tar",
        index_key=index_key(version.id, number, index),
        sha256=summary.sha256,
        bytes=summary.bytes,
        samples=summary.samples,
    )
    return NewShard(row, index, tar)


def _remove_shards(session: Session, version_id: int, *, first: int = 0) -> list[str]:
    """Remove a version's shards from `first` on; the keys of their objects."""
    query = select(ShardRow).where(ShardRow.version_id == version_id, ShardRow.number >= first)
    rows = session.scalars(query).all()
    for row in rows:
        session.delete(row)
    return [key for row in rows for key in _objects_of(row)]


def _objects_of(row: ShardRow) -> tuple[str, str]:
    return row.object_key, row.index_key


def _taken_down(session: Session, team: str) -> set[str]:
    return set(session.scalars(select(TakedownRow.sha256).where(TakedownRow.team == team)))


def _record(row: VersionRow, admission: Admission) -> None:
    row.rejected = dict(admission.rejected)
    row.repeated_captions = admission.repeated_captions
    row.notes = dict(admission.notes)
    row.examples = [asdict(example) for kept in admission.examples.values() for example in kept]
