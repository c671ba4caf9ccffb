"""Datasets and their versions: create, fill, seal, look up."""

from __future__ import annotations

import hashlib
import io

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.chassis.database import Database
from services.chassis.errors import Conflict, Invalid, NotFound, TooLarge
from services.chassis.objects import ObjectStore
from services.chassis.work import FAILED, WorkUnits
from services.datasets.ingest import INGEST_TASK
from services.datasets.tables import DatasetRow, ShardRow, VersionRow, WorkUnitRow
from vila2.api import datasets as api
from vila2.api.base import Progress
from vila2.data.errors import ShardError
from vila2.data.shards import plain_members

MAX_PART_BYTES = 512 * 1024 * 1024


class Versions:
    """Owns the tables `datasets`, `versions` and `shards`, but for what ingest writes."""

    def __init__(self, database: Database, objects: ObjectStore, units: WorkUnits) -> None:
        self._database = database
        self._objects = objects
        self._units = units

    def create_dataset(self, team: str, body: api.DatasetIn) -> api.Dataset:
        """Create a dataset; the same name and kind again returns the one there is."""
        with self._database.transaction() as session:
            row = self._find(session, team, body.name)
            if row is None:
                row = DatasetRow(team=team, name=body.name, kind=body.kind, latest=0)
                session.add(row)
            elif row.kind != body.kind:
                raise Conflict(
                    f"dataset {body.name} exists with kind {row.kind}",
                    field="kind",
                    fix="choose another name, or submit data of that kind",
                )
            return _dataset(row)

    def list_datasets(self, team: str) -> list[api.Dataset]:
        """The team's datasets by name."""
        with self._database.transaction() as session:
            rows = session.scalars(
                select(DatasetRow).where(DatasetRow.team == team).order_by(DatasetRow.name)
            )
            return [_dataset(row) for row in rows]

    def create_version(self, team: str, name: str, body: api.VersionIn) -> api.Version:
        """Open a version; a token that is known returns its version instead."""
        with self._database.transaction() as session:
            dataset = self._dataset(session, team, name)
            if body.token:
                known = session.scalar(
                    select(VersionRow).where(
                        VersionRow.dataset_id == dataset.id, VersionRow.token == body.token
                    )
                )
                if known is not None:
                    return self._version(session, dataset, known)
            newest = session.scalar(
                select(func.max(VersionRow.number)).where(VersionRow.dataset_id == dataset.id)
            )
            row = VersionRow(
                dataset_id=dataset.id,
                number=(newest or 0) + 1,
                token=body.token,
                source=body.source,
                shard_samples=body.shard_samples,
                state="open",
                parts={},
            )
            session.add(row)
            session.flush()
            return self._version(session, dataset, row)

    def put_part(self, team: str, name: str, number: int, part: int, data: bytes) -> api.Version:
        """Store one uploaded part; sending the same part again changes nothing."""
        if len(data) > MAX_PART_BYTES:
            raise TooLarge(
                f"a part has at most {MAX_PART_BYTES:,} bytes", fix="send more, smaller parts"
            )
        try:
            for _ in plain_members(io.BytesIO(data)):
                pass
        except ShardError as error:
            raise Invalid(str(error), field="body", fix=error.fix or "send a plain tar") from error
        digest = hashlib.sha256(data).hexdigest()
        with self._database.transaction() as session:
            dataset = self._dataset(session, team, name)
            row = self._version_row(session, dataset, number)
            if row.parts.get(str(part)) == digest:
                return self._version(session, dataset, row)
            if row.state != "open":
                raise Conflict(
                    f"version {number} of {name} is {row.state}, not open",
                    fix="open a new version for more data",
                )
            self._objects.put(part_key(row.id, part, digest), data)
            row.parts = {**row.parts, str(part): digest}
            return self._version(session, dataset, row)

    def seal(self, team: str, name: str, number: int) -> api.Version:
        """Close a version for uploads and have it ingested; sealing twice changes nothing.

        Where ingest gave up for a reason that lay outside the data, it is tried again.
        """
        with self._database.transaction() as session:
            dataset = self._dataset(session, team, name)
            row = self._version_row(session, dataset, number)
            if row.state == "open":
                if not row.parts:
                    raise Conflict(f"version {number} of {name} has no parts", fix="upload first")
                row.state = "ingesting"
                unit = WorkUnitRow(
                    id=f"ingest-{row.id}",
                    task=INGEST_TASK,
                    subject=f"version-{row.id}",
                    payload={"version_id": row.id},
                )
                self._units.add(session, [unit])
            elif row.state == "ingesting":
                self._units.retry(session, f"version-{row.id}")
            return self._version(session, dataset, row)

    def version(self, team: str, name: str, number: int) -> api.Version:
        """A version; number 0 is the newest that is ready."""
        with self._database.transaction() as session:
            dataset = self._dataset(session, team, name)
            return self._version(session, dataset, self._version_row(session, dataset, number))

    def shards(self, team: str, name: str, number: int) -> list[api.Shard]:
        """The shards of a ready version, in order."""
        with self._database.transaction() as session:
            dataset = self._dataset(session, team, name)
            row = self._version_row(session, dataset, number)
            if row.state != "ready":
                raise Conflict(f"version {row.number} of {name} is {row.state}", fix="wait for it")
            shards = session.scalars(
                select(ShardRow).where(ShardRow.version_id == row.id).order_by(ShardRow.number)
            )
            return [
                api.Shard(
                    index=shard.number,
                    object_key=shard.object_key,
                    sha256=shard.sha256,
                    bytes=shard.bytes,
                    samples=shard.samples,
                )
                for shard in shards
            ]

    def rejected(self, team: str, name: str, number: int) -> list[api.RejectedExample]:
        """Examples of what was not admitted, some of every reason."""
        with self._database.transaction() as session:
            dataset = self._dataset(session, team, name)
            row = self._version_row(session, dataset, number)
            return [api.RejectedExample(**example) for example in row.examples]

    def _find(self, session: Session, team: str, name: str) -> DatasetRow | None:
        return session.scalar(
            select(DatasetRow).where(DatasetRow.team == team, DatasetRow.name == name)
        )

    def _dataset(self, session: Session, team: str, name: str) -> DatasetRow:
        row = self._find(session, team, name)
        if row is None:
            raise NotFound(
                f"no dataset {name!r}", field="dataset", fix="`vila2 datasets list` shows yours"
            )
        return row

    def _version_row(self, session: Session, dataset: DatasetRow, number: int) -> VersionRow:
        wanted = number or dataset.latest
        row = session.scalar(
            select(VersionRow).where(
                VersionRow.dataset_id == dataset.id, VersionRow.number == wanted
            )
        )
        if row is None:
            which = f"version {number}" if number else "ready version"
            raise NotFound(f"dataset {dataset.name} has no {which}", field="version")
        return row

    def _version(self, session: Session, dataset: DatasetRow, row: VersionRow) -> api.Version:
        shards = session.scalar(
            select(func.count()).select_from(ShardRow).where(ShardRow.version_id == row.id)
        )
        unit = session.get(WorkUnitRow, f"ingest-{row.id}")
        # Ingest marks a version whose data is bad; where it gave up, only its unit can tell.
        gave_up = row.state == "ingesting" and unit is not None and unit.state == FAILED
        state = "failed" if gave_up else row.state
        return api.Version(
            dataset=dataset.name,
            version=row.number,
            kind=dataset.kind,
            state=state,
            parts=sorted(int(part) for part in row.parts),
            shards=shards or 0,
            samples=row.samples,
            bytes=row.bytes,
            rejected=row.rejected or {},
            repeated_captions=row.repeated_captions or 0,
            notes=row.notes or {},
            sha256=row.sha256 or "",
            error=row.error or (unit.error if unit is not None else "") or "",
            progress=Progress(done=unit.progress if unit else 0, phase=state),
        )


def part_key(version_id: int, part: int, digest: str) -> str:
    """Where an uploaded part lies until it is ingested."""
    return f"uploads/{version_id}/{part:06d}-{digest[:16]}.tar"


def _dataset(row: DatasetRow) -> api.Dataset:
    return api.Dataset(name=row.name, kind=row.kind, team=row.team, latest=row.latest or 0)
