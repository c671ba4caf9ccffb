"""Ingest: what a version was given becomes checked, content-addressed shards with their indexes."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.database import Database
from services.chassis.metrics import SAMPLES_INGESTED
from services.chassis.objects import ObjectStore
from services.chassis.work import Claim, WorkUnits
from services.chassis.worker import PermanentError, Report
from services.datasets.in_place import InPlace
from services.datasets.incoming import Incoming
from services.datasets.manifests import dataset_manifest, digest_of, put_manifest, shard_ref
from services.datasets.tables import DatasetRow, ShardRow, TakedownRow, VersionRow
from services.datasets.uploads import Uploads
from vila2.data.errors import DataError
from vila2.data.index import SUFFIX, encode_index
from vila2.data.ingest import Admission
from vila2.data.sample import Sample
from vila2.data.shards import write_shard

INGEST_TASK = "datasets.ingest"


class Ingest:
    """Turns what one version was given into shards; running it twice makes the same objects."""

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
        )
        try:
            with tempfile.TemporaryDirectory(prefix="vila2-ingest-") as scratch:
                if version.origin:
                    shards = list(self._in_place.shards(version, admission, report))
                else:
                    shards = list(self._shards(version, admission, Path(scratch), report))
        except DataError as error:
            self._settle_failed(version_id, str(error))
            raise PermanentError(str(error)) from error
        finally:
            admission.close()
        if not shards:
            reasons = ", ".join(f"{n} {reason}" for reason, n in admission.rejected.most_common())
            message = f"no sample was admitted: {reasons or 'there was none'}"
            self._settle_failed(version_id, message, admission)
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
        crashpoint("ingest.written")
        with self._database.transaction() as session:
            if not self._units.complete(session, claim, {"samples": admission.accepted}):
                return
            if _taken_down(session, dataset.team) != gone:
                raise RuntimeError("a picture was taken down while this version was ingested")
            row = session.get_one(VersionRow, version_id)
            session.add_all(shards)
            _record(row, admission)
            row.state, row.sha256, row.shards = "ready", manifest.sha256, len(shards)
            row.samples, row.bytes = admission.accepted, sum(shard.bytes for shard in shards)
            owner = session.get_one(DatasetRow, row.dataset_id)
            owner.latest = max(owner.latest or 0, row.number)
        SAMPLES_INGESTED.labels("admitted").inc(admission.accepted)
        SAMPLES_INGESTED.labels("rejected").inc(admission.rejected.total())
        self._uploads.sweep(version_id)

    def _shards(
        self, version: VersionRow, admission: Admission, scratch: Path, report: Report
    ) -> Iterator[ShardRow]:
        raws = self._incoming.raws(version, scratch, report)
        # Decoding leaves Python's lock alone; nothing else here gains by threads.
        workers = (os.cpu_count() or 1) if admission.decoded else 1
        samples = admission.through(raws, workers=workers)
        for number in itertools.count():
            first = next(samples, None)
            if first is None:
                return
            batch = itertools.chain([first], itertools.islice(samples, version.shard_samples - 1))

            def seen() -> None:
                report(admission.accepted + admission.rejected.total())

            yield self._store(version, number, _each(batch, seen), scratch)

    def _store(
        self, version: VersionRow, number: int, samples: Iterator[Sample], scratch: Path
    ) -> ShardRow:
        partial = scratch / "shard.tar"
        with partial.open("wb") as out:
            summary = write_shard(samples, out)
        key = f"shards/{summary.sha256[:2]}/{number:06d}-{summary.sha256}.tar"
        if not self._objects.exists(key):
            self._objects.put_file(key, partial)
        index_key = f"indexes/{version.id}/{number:06d}-{summary.sha256[:16]}{SUFFIX}"
        self._objects.put(index_key, encode_index(summary.index))
        return ShardRow(
            version_id=version.id,
            number=number,
            object_key=key,
            index_key=index_key,
            sha256=summary.sha256,
            bytes=summary.bytes,
            samples=summary.samples,
        )

    def _settle_failed(
        self, version_id: int, message: str, admission: Admission | None = None
    ) -> None:
        # What was not fetched is asked for again when the version is sealed again.
        for key in list(self._objects.keys(f"uploads/{version_id}/fetched")):
            self._objects.delete(key)
        with self._database.transaction() as session:
            row = session.get_one(VersionRow, version_id)
            row.state, row.error = "failed", message[:2000]
            if admission is not None:
                _record(row, admission)


def _taken_down(session: Session, team: str) -> set[str]:
    return set(session.scalars(select(TakedownRow.sha256).where(TakedownRow.team == team)))


def _each(samples: Iterator[Sample], seen: Callable[[], None]) -> Iterator[Sample]:
    for sample in samples:
        seen()
        yield sample


def _record(row: VersionRow, admission: Admission) -> None:
    row.rejected = dict(admission.rejected)
    row.repeated_captions = admission.repeated_captions
    row.notes = dict(admission.notes)
    row.examples = [asdict(example) for kept in admission.examples.values() for example in kept]
