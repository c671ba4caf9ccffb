"""Ingest: the parts of a version become checked, content-addressed shards."""

from __future__ import annotations

import hashlib
import io
import itertools
from collections.abc import Iterator
from dataclasses import asdict

from google.protobuf import json_format

from services.chassis.crashpoint import crashpoint
from services.chassis.database import Database
from services.chassis.metrics import SAMPLES_INGESTED
from services.chassis.objects import ObjectStore
from services.chassis.work import Claim, WorkUnits
from services.chassis.worker import PermanentError, Report
from services.datasets.tables import DatasetRow, ShardRow, VersionRow
from vila2.data.errors import DataError
from vila2.data.ingest import Admission
from vila2.data.sample import RawSample
from vila2.data.shards import read_raw_shard, write_shard
from vila2.wire.manifests_pb2 import DatasetManifest, ShardRef

INGEST_TASK = "datasets.ingest"


class Ingest:
    """Turns one version's uploads into shards; running it twice makes the same objects."""

    def __init__(self, database: Database, objects: ObjectStore, units: WorkUnits) -> None:
        self._database, self._objects, self._units = database, objects, units

    def run(self, claim: Claim, report: Report) -> None:
        """Check every sample, write the shards and the manifest, then mark the version ready."""
        version_id = int(claim.payload["version_id"])
        with self._database.transaction() as session:
            version = session.get_one(VersionRow, version_id)
            dataset = session.get_one(DatasetRow, version.dataset_id)
        admission = Admission()
        try:
            shards = self._write_shards(version, admission, report)
        except DataError as error:
            self._settle_failed(version_id, str(error))
            raise PermanentError(str(error)) from error
        if not shards:
            reasons = ", ".join(f"{n} {reason}" for reason, n in admission.rejected.most_common())
            message = f"no sample was admitted: {reasons or 'the parts are empty'}"
            self._settle_failed(version_id, message, admission)
            raise PermanentError(message)
        manifest = self._manifest(dataset, version, shards, admission)
        text = json_format.MessageToJson(manifest, sort_keys=True)
        self._objects.put(f"datasets/{version_id}/manifest.json", text.encode())
        crashpoint("ingest.written")
        with self._database.transaction() as session:
            if not self._units.complete(session, claim, {"samples": admission.accepted}):
                return
            row = session.get_one(VersionRow, version_id)
            session.add_all(shards)
            _record(row, admission)
            row.state, row.sha256 = "ready", manifest.sha256
            row.samples, row.bytes = admission.accepted, sum(shard.bytes for shard in shards)
            owner = session.get_one(DatasetRow, row.dataset_id)
            owner.latest = max(owner.latest or 0, row.number)
        SAMPLES_INGESTED.labels("admitted").inc(admission.accepted)
        SAMPLES_INGESTED.labels("rejected").inc(admission.rejected.total())

    def _raws(self, version: VersionRow) -> Iterator[RawSample]:
        for number, digest in sorted(version.parts.items(), key=lambda part: int(part[0])):
            key = f"uploads/{version.id}/{int(number):06d}-{digest[:16]}.tar"
            yield from read_raw_shard(self._objects.get(key))

    def _write_shards(
        self, version: VersionRow, admission: Admission, report: Report
    ) -> list[ShardRow]:
        made: list[ShardRow] = []
        samples = admission.through(self._raws(version))
        while batch := list(itertools.islice(samples, version.shard_samples)):
            buffer = io.BytesIO()
            summary = write_shard(batch, buffer)
            key = f"shards/{summary.sha256[:2]}/{len(made):06d}-{summary.sha256}.tar"
            if not self._objects.exists(key):
                self._objects.put(key, buffer.getvalue())
            made.append(
                ShardRow(
                    version_id=version.id,
                    number=len(made),
                    object_key=key,
                    sha256=summary.sha256,
                    bytes=summary.bytes,
                    samples=summary.samples,
                )
            )
            report(admission.accepted)
        return made

    def _manifest(
        self,
        dataset: DatasetRow,
        version: VersionRow,
        shards: list[ShardRow],
        admission: Admission,
    ) -> DatasetManifest:
        digest = hashlib.sha256("".join(shard.sha256 for shard in shards).encode()).hexdigest()
        return DatasetManifest(
            dataset=dataset.name,
            version=version.number,
            team=dataset.team,
            kind=dataset.kind,
            samples=admission.accepted,
            rejected=dict(admission.rejected),
            sha256=digest,
            shards=[
                ShardRef(
                    index=shard.number,
                    object_key=shard.object_key,
                    sha256=shard.sha256,
                    bytes=shard.bytes,
                    samples=shard.samples,
                )
                for shard in shards
            ],
        )

    def _settle_failed(
        self, version_id: int, message: str, admission: Admission | None = None
    ) -> None:
        with self._database.transaction() as session:
            row = session.get_one(VersionRow, version_id)
            row.state, row.error = "failed", message[:2000]
            if admission is not None:
                _record(row, admission)


def _record(row: VersionRow, admission: Admission) -> None:
    row.rejected = dict(admission.rejected)
    row.repeated_captions = admission.repeated_captions
    row.notes = dict(admission.notes)
    row.examples = [asdict(example) for kept in admission.examples.values() for example in kept]
