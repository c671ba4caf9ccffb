"""Makes the shards of a version that is another one without some of its samples.

Only shards that hold such a sample are written again; the others are shared with the version that
they came from, each with an index of its own.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import closing, contextmanager
from pathlib import Path

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.storage.sources import IN_PLACE
from services.chassis.work.units import Claim, WorkUnits
from services.chassis.work.worker import PermanentError, Report
from services.datasets.lookup import each_shard
from services.datasets.tables import DatasetRow, ShardRow, VersionRow
from services.datasets.versions.content import index_rows, shard_file
from services.datasets.versions.publication import Publication, taken_down
from services.datasets.versions.shard_objects import NewShard, index_key
from vila2.data.admission import EXAMPLES_PER_REASON, Summary
from vila2.data.dedup_index import Seen
from vila2.data.errors import Damaged
from vila2.data.index import SUFFIX, IndexRow, encode_index
from vila2.data.sample import Rejected
from vila2.data.shards import read_shard, write_shard
from vila2.schemas.refs import DatasetRef

EXCLUSION_TASK = "datasets.exclusion"
EXCLUDED, TAKEN_DOWN = "excluded", "taken-down"


class ExclusionShards:
    """Fills one version that an exclusion opened; idempotent."""

    def __init__(self, database: Database, objects: ObjectStore, units: WorkUnits) -> None:
        self._database, self._objects = database, objects
        self._publication = Publication(database, objects, units)

    def run(self, claim: Claim, report: Report) -> None:
        """Make the version's shards, then mark it ready."""
        version_id, source_id = int(claim.payload["version_id"]), int(claim.payload["from"])
        keys = frozenset(claim.payload["keys"])
        with self._database.reading() as session:
            version = session.get_one(VersionRow, version_id)
            source = session.get_one(VersionRow, source_id)
            dataset = session.get_one(DatasetRow, source.dataset_id)
            gone = taken_down(session, dataset.team)
        name = DatasetRef(dataset.name, source.number)
        self._check_source(claim, version_id, name, source)
        shards: list[ShardRow] = []
        counted = _Counted(str(claim.payload.get("reason", "")))
        with closing(counted), tempfile.TemporaryDirectory(prefix="vila2-exclude-") as scratch:
            for shard in each_shard(self._database, source_id):
                rows = self._rows(name, shard)
                # A take-down in progress may not have reached this shard.
                kept = [row for row in rows if row.key not in keys and row.sha256 not in gone]
                counted.add(rows, kept, keys)
                report(counted.accepted)
                if kept:
                    whole = len(kept) == len(rows)
                    new = self._new_shard(
                        name, shard, version, len(shards), kept, None if whole else Path(scratch)
                    )
                    if not self._publication.keep(claim, new):
                        return
                    shards.append(new.row)
        with self._database.reading() as session:
            source = session.get_one(VersionRow, source_id)
        # A deletion removes rows only after it has marked the version, so all of them were read.
        self._check_source(claim, version_id, name, source)
        if not shards:
            # Those that were to stay have been taken down since.
            self._publication.settle_failed(claim, version_id, "no sample is left")
            raise PermanentError("no sample is left")
        self._publication.publish(claim, version_id, shards, counted.summary(), gone)

    def _check_source(
        self, claim: Claim, version_id: int, name: DatasetRef, source: VersionRow
    ) -> None:
        """Give up if the version to copy from was deleted."""
        if source.state != "ready":
            message = f"{name} was deleted before its samples were copied"
            self._publication.settle_failed(claim, version_id, message)
            raise PermanentError(message)

    def _new_shard(
        self,
        name: str,
        shard: ShardRow,
        version: VersionRow,
        number: int,
        kept: Sequence[IndexRow],
        scratch: Path | None,
    ) -> NewShard:
        """The shard with the samples that are kept; without `scratch`, they are all of them."""
        row = ShardRow(
            version_id=version.id,
            number=number,
            object_key=shard.object_key,
            sha256=shard.sha256,
            bytes=shard.bytes,
            samples=len(kept),
        )
        if shard.object_key.startswith(f"{IN_PLACE}/"):
            # The tar stays in its source; the index lists which of its samples are meant.
            index = encode_index(kept)
            tar, digest = shard.object_key.rsplit("/", 1)[0], _digest(index)
            row.object_key = row.index_key = f"{tar}/{version.id}-{digest}{SUFFIX}"
            return NewShard(row, index)
        path = None
        if scratch is not None:
            path, wanted = scratch / "shard.tar", {held.key for held in kept}
            with self._replaced(shard), path.open("wb") as out:
                samples = read_shard(shard_file(self._objects, name, shard))
                summary = write_shard((s for s in samples if s.key in wanted), out)
            kept, row.sha256, row.bytes = summary.index, summary.sha256, summary.bytes
            row.object_key = f"shards/{row.sha256[:2]}/{number:06d}-{row.sha256}.tar"
        index = encode_index(kept)
        row.index_key = index_key(version.id, number, index)
        return NewShard(row, index, path)

    def _rows(self, name: str, shard: ShardRow) -> list[IndexRow]:
        with self._replaced(shard):
            return [IndexRow(**row) for row in index_rows(self._objects, name, shard)]

    @contextmanager
    def _replaced(self, shard: ShardRow) -> Iterator[None]:
        """Try the unit again if the shard is damaged only because a take-down replaced it."""
        try:
            yield
        except Damaged as error:
            with self._database.reading() as session:
                now = session.get(ShardRow, (shard.version_id, shard.number))
            if now is None or now.index_key != shard.index_key:
                raise RuntimeError(f"shard {shard.number} was replaced meanwhile") from error
            raise


class _Counted:
    """What the new version has, and what it lacks."""

    def __init__(self, reason: str) -> None:
        self._reason = reason
        self.accepted, self._repeated = 0, 0
        self._rejected: Counter[str] = Counter()
        self._examples: dict[str, list[Rejected]] = {}
        self._seen = Seen()

    def add(
        self, rows: Sequence[IndexRow], kept: Sequence[IndexRow], keys: AbstractSet[str]
    ) -> None:
        """Count the samples of a shard, those that are kept of it, and why the others are not."""
        self.accepted += len(kept)
        stay = {row.key for row in kept}
        for row in rows:
            if row.key in stay:
                if row.caption:
                    digest = hashlib.sha256(row.caption.encode()).digest()
                    self._repeated += self._seen.add_caption(digest)
                continue
            reason, detail = (EXCLUDED, self._reason) if row.key in keys else (TAKEN_DOWN, "")
            self._rejected[reason] += 1
            examples = self._examples.setdefault(reason, [])
            if len(examples) < EXAMPLES_PER_REASON:
                examples.append(Rejected(row.key, row.source, reason, detail))

    def summary(self) -> Summary:
        """The counts so far. Notes are not known of single samples, and are left out."""
        return Summary(
            accepted=self.accepted,
            rejected=dict(self._rejected),
            notes={},
            repeated_captions=self._repeated,
            examples={reason: tuple(held) for reason, held in self._examples.items()},
        )

    def close(self) -> None:
        """Delete the index of captions."""
        self._seen.close()


def _digest(index: bytes) -> str:
    return hashlib.sha256(index).hexdigest()[:32]
