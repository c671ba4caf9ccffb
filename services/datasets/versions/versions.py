"""Datasets and their versions: create, seal, look up, select the current one."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.sources import Sources
from services.chassis.web.errors import Conflict, Invalid, NotFound, TooManyRequests
from services.chassis.web.idempotency import KeyedRequest
from services.chassis.web.paging import Page
from services.chassis.work.units import WorkUnits
from services.datasets.governance.history import record
from services.datasets.governance.quotas import Storage
from services.datasets.lookup import (
    dataset_row,
    find_dataset,
    locked_version,
    next_number,
    ready_version,
    shown_state,
    version_row,
)
from services.datasets.tables import DatasetRow, ShardRow, UploadRow, VersionRow, WorkUnitRow
from services.datasets.versions.ingest import INGEST_TASK
from services.identity.require_scope import Principal
from vila2.schemas.rest import datasets as api
from vila2.schemas.rest.base import Progress

_WAITING_SECONDS = 30.0


class Versions:
    """Owns the tables `datasets`, `versions` and `shards`; ingest also writes to them."""

    def __init__(
        self,
        database: Database,
        units: WorkUnits,
        sources: Sources,
        storage: Storage,
        *,
        most_waiting: int,
    ) -> None:
        self._database, self._units, self._sources = database, units, sources
        self._storage, self._most_waiting = storage, most_waiting

    def create_dataset(self, team: str, body: api.DatasetIn) -> api.Dataset:
        """Create a dataset; returns the existing one for the same name and kind."""
        with self._database.transaction() as session:
            exclusively(session, f"dataset:{team}:{body.name}")
            row = find_dataset(session, team, body.name)
            if row is None:
                row = DatasetRow(team=team, name=body.name, kind=body.kind, latest=0)
                session.add(row)
            elif row.deleted:
                # Its versions' numbers go on, so that none means two versions.
                row.deleted, row.kind = False, body.kind
            elif row.kind != body.kind:
                raise Conflict(
                    f"dataset {body.name} exists with kind {row.kind}",
                    field="kind",
                    fix="choose another name, or submit data of that kind",
                )
            return _dataset(row)

    def list_datasets(self, team: str, page: Page, *, query: str) -> list[api.Dataset]:
        """The team's datasets whose name contains `query`, by name."""
        chosen = select(DatasetRow).where(
            DatasetRow.team == team,
            DatasetRow.name.contains(query, autoescape=True),
            DatasetRow.deleted.is_(False),
        )
        with self._database.reading() as session:
            return [_dataset(row) for row in page.rows(session, chosen, DatasetRow.name)]

    def dataset(self, team: str, name: str) -> api.Dataset:
        """A dataset by name."""
        with self._database.reading() as session:
            return _dataset(dataset_row(session, team, name))

    def create_version(
        self, team: str, name: str, body: api.VersionIn, token: str | None = None
    ) -> api.Version:
        """Open a version; idempotent by `token`."""
        if body.origin:
            self._sources.check(body.origin, team)
            if body.format != "webdataset":
                raise Invalid(
                    "only WebDataset tars are registered in place",
                    field="format",
                    fix="say webdataset, or copy the data by submitting it",
                )
        asked = KeyedRequest.of(token, body)
        with self._database.transaction() as session:
            dataset = dataset_row(session, team, name)
            # Concurrent requests must not get the same number.
            session.refresh(dataset, with_for_update=True)
            dataset = dataset_row(session, team, name)
            known = asked.find(session, VersionRow, dataset_id=dataset.id)
            if known is not None:
                return self._version(session, dataset, known)
            if not body.origin:
                self._storage.check(session, team, body.upload_bytes, field="upload_bytes")
            row = VersionRow(
                dataset_id=dataset.id,
                number=next_number(session, dataset),
                **asked.columns,
                source=body.source,
                licence=body.licence,
                format=body.format or "",
                options=body.options.model_dump(),
                origin=body.origin,
                prefix=body.prefix.strip("/"),
                shard_samples=body.shard_samples,
            )
            session.add(row)
            session.flush()
            return self._version(session, dataset, row)

    def seal(self, team: str, name: str, number: int) -> api.Version:
        """Close a version for uploads and start its ingest; idempotent.

        A failed ingest is retried.
        """
        with self._database.transaction() as session:
            dataset = dataset_row(session, team, name)
            row = locked_version(session, dataset, number)
            if row.state == "open":
                pieces = select(UploadRow.number).where(UploadRow.version_id == row.id).limit(1)
                if not row.origin and session.scalar(pieces) is None:
                    raise Conflict(f"version {number} of {name} has no parts", fix="upload first")
                self.check_waiting(session, team)
                row.state = "ingesting"
                unit = WorkUnitRow(
                    id=f"ingest-{row.id}",
                    task=INGEST_TASK,
                    subject=f"version-{row.id}",
                    payload={"version_id": row.id, "team": team},
                )
                self._units.add(session, [unit])
            elif row.state != "ready" and self._units.retry(session, f"version-{row.id}"):
                # Also if it failed: what could not be fetched may be available now.
                row.state, row.error = "ingesting", ""
            return self._version(session, dataset, row)

    def check_waiting(self, session: Session, team: str) -> None:
        """Raise `TooManyRequests` if too many of the team's versions wait for their ingest."""
        waiting = session.scalar(
            select(func.count())
            .select_from(VersionRow)
            .join(DatasetRow, DatasetRow.id == VersionRow.dataset_id)
            .where(DatasetRow.team == team, VersionRow.state == "ingesting")
        )
        if (waiting or 0) >= self._most_waiting:
            raise TooManyRequests(
                f"{waiting} versions of team {team} wait for their ingest",
                retry_after=_WAITING_SECONDS,
                fix="seal this one later, or have the operator raise VILA2_TEAM_INGESTS",
            )

    def use(self, caller: Principal, name: str, body: api.LatestIn) -> api.Dataset:
        """Make a version, possibly an earlier one, the one that the bare name refers to."""
        with self._database.transaction() as session:
            dataset = dataset_row(session, caller.team, name)
            # A version that is being deleted must not become the one in use.
            session.refresh(dataset, with_for_update=True)
            row = ready_version(session, caller.team, name, body.version)
            if dataset.latest != row.number:
                subject = f"{name}: {dataset.latest} -> {row.number}"
                record(session, caller, "version-in-use", subject, body.reason)
                dataset.latest = row.number
            return _dataset(dataset)

    def version(self, team: str, name: str, number: int) -> api.Version:
        """A version; number 0 is the one in use."""
        with self._database.reading() as session:
            dataset = dataset_row(session, team, name)
            return self._version(session, dataset, version_row(session, dataset, number))

    def shards(self, team: str, name: str, number: int, page: Page) -> list[api.Shard]:
        """Shards of a ready version in order."""
        with self._database.reading() as session:
            row = ready_version(session, team, name, number)
            chosen = select(ShardRow).where(ShardRow.version_id == row.id)
            return [_shard(shard) for shard in page.rows(session, chosen, ShardRow.number)]

    def shard(self, team: str, name: str, number: int, index: int) -> api.Shard:
        """One shard of a ready version."""
        with self._database.reading() as session:
            version = ready_version(session, team, name, number)
            row = session.get(ShardRow, (version.id, index))
            if row is None:
                raise NotFound(f"version has no shard {index}", field="index")
            return _shard(row)

    def rejected(self, team: str, name: str, number: int, page: Page) -> list[api.RejectedExample]:
        """Examples of rejected samples for each reason, as recorded by ingest."""
        with self._database.reading() as session:
            row = version_row(session, dataset_row(session, team, name), number)
            return page.numbered([api.RejectedExample(**example) for example in row.examples])

    def _version(self, session: Session, dataset: DatasetRow, row: VersionRow) -> api.Version:
        state, unit = shown_state(session, row)
        parts = session.scalars(
            select(UploadRow.number)
            .where(UploadRow.version_id == row.id, UploadRow.file == "")
            .order_by(UploadRow.number)
        ).all()
        return api.Version(
            dataset=dataset.name,
            version=row.number,
            kind=dataset.kind,
            state=state,
            source=row.source or "",
            licence=row.licence or "",
            origin=row.origin or "",
            parts=list(parts),
            shards=row.shards or 0,
            samples=row.samples or 0,
            bytes=row.bytes or 0,
            rejected=row.rejected or {},
            repeated_captions=row.repeated_captions or 0,
            notes=row.notes or {},
            created_at=row.created_at,
            taken_down=row.taken_down or 0,
            sha256=row.sha256 or "",
            error=row.error or (unit.error if unit is not None else "") or "",
            progress=Progress(done=unit.progress if unit else 0, phase=state),
        )


def _dataset(row: DatasetRow) -> api.Dataset:
    return api.Dataset(name=row.name, kind=row.kind, team=row.team, latest=row.latest or 0)  # type: ignore[arg-type]


def _shard(row: ShardRow) -> api.Shard:
    return api.Shard(
        index=row.number,
        object_key=row.object_key,
        index_key=row.index_key,
        sha256=row.sha256,
        bytes=row.bytes,
        samples=row.samples,
    )
