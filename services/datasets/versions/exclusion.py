"""Exclusions: a new version of a dataset without some of its samples."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import Conflict, NotFound
from services.chassis.web.idempotency import KeyedRequest
from services.chassis.work.units import WorkUnits
from services.datasets.governance.history import record
from services.datasets.governance.quotas import Storage
from services.datasets.lookup import dataset_row, each_shard, next_number, ready_version
from services.datasets.tables import VersionRow, WorkUnitRow
from services.datasets.versions.content import index_rows
from services.datasets.versions.exclusion_shards import EXCLUSION_TASK
from services.datasets.versions.versions import Versions
from services.identity.require_scope import Principal
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest import dataset_upkeep as api
from vila2.schemas.rest.datasets import Version
from vila2.system.numbers import counted

_NAMED = 5


class Exclusions:
    """Opens versions without some samples; `ExclusionShards` fills them."""

    def __init__(
        self,
        database: Database,
        objects: ObjectStore,
        units: WorkUnits,
        *,
        versions: Versions,
        storage: Storage,
    ) -> None:
        self._database, self._objects, self._units = database, objects, units
        self._versions, self._storage = versions, storage

    def start(
        self, caller: Principal, name: str, number: int, body: api.ExcludeIn, token: str | None
    ) -> Version:
        """Open the new version and start to fill it; the same `token` returns the same version.

        Raises `NotFound` that names keys which the version does not have, and `Conflict` if no
        sample would be left.
        """
        asked = KeyedRequest.of(token, body, str(number))
        with self._database.reading() as session:
            dataset = dataset_row(session, caller.team, name)
            known = asked.find(session, VersionRow, dataset_id=dataset.id)
            if known is None:
                source = ready_version(session, caller.team, name, number)
        if known is None:
            self._check_keys(DatasetRef(name, source.number), source.id, set(body.keys))
            known = self._open(caller, name, source, body, asked)
        return self._versions.version(caller.team, name, known.number)

    def _check_keys(self, name: DatasetRef, version_id: int, keys: set[str]) -> None:
        samples, missing = 0, set(keys)
        for shard in each_shard(self._database, version_id):
            held = {row["key"] for row in index_rows(self._objects, name, shard, ("key",))}
            samples += len(held)
            missing -= held
        if missing:
            named = ", ".join(repr(key) for key in sorted(missing)[:_NAMED])
            more = f" and {len(missing) - _NAMED:,} more" if len(missing) > _NAMED else ""
            raise NotFound(
                f"{name} has no sample {named}{more}",
                field="keys",
                fix="give keys as the audit or an export names them",
            )
        if samples == len(keys):
            raise Conflict(
                f"these are all {samples:,} samples of {name}",
                field="keys",
                fix=f"`vila2 datasets delete {name}` deletes it",
            )

    def _open(
        self,
        caller: Principal,
        name: str,
        source: VersionRow,
        body: api.ExcludeIn,
        asked: KeyedRequest,
    ) -> VersionRow:
        with self._database.transaction() as session:
            dataset = dataset_row(session, caller.team, name)
            # Concurrent requests must not get the same number.
            session.refresh(dataset, with_for_update=True)
            known = asked.find(session, VersionRow, dataset_id=dataset.id)
            if known is not None:
                return known
            source = ready_version(session, caller.team, name, source.number)
            if not source.origin:
                self._storage.check(session, caller.team, source.bytes, field="keys")
            self._versions.check_waiting(session, caller.team)
            copied = ("source", "licence", "format", "options", "origin", "prefix", "shard_samples")
            row = VersionRow(
                dataset_id=dataset.id,
                number=next_number(session, dataset),
                state="ingesting",
                **{column: getattr(source, column) for column in copied},
                **asked.columns,
            )
            session.add(row)
            session.flush()
            self._add_unit(session, caller.team, row, source, body)
            change = f"{DatasetRef(name, source.number)} -> {DatasetRef(name, row.number)}"
            what = f"{change} without {counted(len(set(body.keys)), 'sample')}"
            record(session, caller, "samples-excluded", what, body.reason)
            return row

    def _add_unit(
        self,
        session: Session,
        team: str,
        row: VersionRow,
        source: VersionRow,
        body: api.ExcludeIn,
    ) -> None:
        # The id and subject of an ingest: the version shows its progress, and sealing it again
        # retries it.
        payload: dict[str, Any] = {"version_id": row.id, "team": team, "from": source.id}
        payload |= {"keys": sorted(set(body.keys)), "reason": body.reason}
        unit = WorkUnitRow(
            id=f"ingest-{row.id}",
            task=EXCLUSION_TASK,
            subject=f"version-{row.id}",
            payload=payload,
        )
        self._units.add(session, [unit])
