"""Ingest: turns a version's uploads into checked, content-addressed shards with indexes."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.telemetry.metrics import SAMPLES_INGESTED
from services.chassis.work.units import Claim, WorkUnits
from services.chassis.work.worker import PermanentError, Report
from services.datasets.tables import DatasetRow, ShardRow, VersionRow
from services.datasets.versions.in_place import InPlace
from services.datasets.versions.incoming import Incoming
from services.datasets.versions.publication import Publication, taken_down
from services.datasets.versions.shard_objects import NewShard, index_key
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
        self._database, self._objects = database, objects
        self._incoming, self._in_place, self._uploads = incoming, in_place, uploads
        self._publication = Publication(database, objects, units)

    def run(self, claim: Claim, report: Report) -> None:
        """Check every sample, write the shards and the manifest, then mark the version ready."""
        version_id = int(claim.payload["version_id"])
        with self._database.transaction() as session:
            version = session.get_one(VersionRow, version_id)
            dataset = session.get_one(DatasetRow, version.dataset_id)
            gone = taken_down(session, dataset.team)
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
                    if not self._publication.keep(claim, new):
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
        if not self._publication.publish(claim, version_id, shards, admission.summary(), gone):
            return
        SAMPLES_INGESTED.labels("admitted").inc(admission.accepted)
        SAMPLES_INGESTED.labels("rejected").inc(admission.rejected.total())
        self._uploads.sweep(version_id)

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
        summary = None if admission is None else admission.summary()
        self._publication.settle_failed(claim, version_id, message, summary)


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
