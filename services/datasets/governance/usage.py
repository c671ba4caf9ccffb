"""What a team stores: shards by dataset and version, uploads, layers and exports.

Sharing is counted within the team only: what other teams have is none of its business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import distinct, func, select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.storage.objects import ObjectStore
from services.datasets.governance.quotas import Storage
from services.datasets.lookup import GONE, shown_state
from services.datasets.tables import (
    DatasetRow,
    ExportRow,
    LayerRow,
    ShardRow,
    UploadRow,
    VersionRow,
)
from vila2.schemas.rest import dataset_upkeep as api


class StorageUse:
    """Read-only sums over the store's tables, and over the objects of layers."""

    def __init__(self, database: Database, objects: ObjectStore, storage: Storage) -> None:
        self._database, self._objects, self._storage = database, objects, storage

    def of_team(self, team: str) -> api.StorageUsage:
        """Everything that the team stores, with its quota."""
        with self._database.reading() as session:
            datasets = session.scalars(
                select(DatasetRow)
                .where(DatasetRow.team == team, DatasetRow.deleted.is_(False))
                .order_by(DatasetRow.name)
            ).all()
            versions = _versions(session, [dataset.id for dataset in datasets])
            sums = _Sums.of(session, team)
            layers = session.scalars(
                select(LayerRow)
                .where(LayerRow.team == team)
                .order_by(LayerRow.created_at, LayerRow.id)
            ).all()
            states = {row.id: shown_state(session, row)[0] for rows in versions.values()
                      for row in rows}  # fmt: skip
        measured = self._measured(layers)
        shown = [
            api.DatasetUsage(
                dataset=dataset.name,
                bytes=sums.datasets.get(dataset.id, (0, 0))[0],
                own_bytes=sums.datasets.get(dataset.id, (0, 0))[1],
                versions=[
                    sums.version(dataset, row, states[row.id], measured[row.id])
                    for row in versions[dataset.id]
                ],
            )
            for dataset in datasets
        ]
        each = [version for dataset in shown for version in dataset.versions]
        return api.StorageUsage(
            team=team,
            quota=self._storage.get(team),
            bytes=sums.stored,
            upload_bytes=sum(version.upload_bytes for version in each),
            layer_bytes=sum(layer.bytes for version in each for layer in version.layers),
            datasets=shown,
        )

    def _measured(self, layers: Iterable[LayerRow]) -> dict[int, list[api.LayerUsage]]:
        """The layers of each version. Their sizes are in no row, so the store is asked."""
        found: dict[int, list[api.LayerUsage]] = defaultdict(list)
        for row in layers:
            size = sum(entry.bytes for entry in self._objects.entries(f"layers/{row.id}"))
            usage = api.LayerUsage(id=row.id, name=row.name, state=row.state, bytes=size)
            found[row.version_id].append(usage)
        return found


@dataclass(frozen=True, slots=True)
class _Sums:
    """Sums over a team's rows.

    `shards`: (own, shared) bytes by version; `datasets`: (all, own) bytes by dataset; `uploads` and
    `exports` by version.
    """

    stored: int
    shards: dict[int, tuple[int, int]]
    datasets: dict[int, tuple[int, int]]
    uploads: dict[int, int]
    exports: dict[int, int]

    @classmethod
    def of(cls, session: Session, team: str) -> _Sums:
        """Read them; tars in place are stored elsewhere and are left out."""
        held = (
            select(ShardRow.object_key, ShardRow.bytes, ShardRow.version_id, VersionRow.dataset_id)
            .join(VersionRow, VersionRow.id == ShardRow.version_id)
            .join(DatasetRow, DatasetRow.id == VersionRow.dataset_id)
            .where(DatasetRow.team == team, VersionRow.origin == "", VersionRow.state.not_in(GONE))
            .cte("held")
        )
        objects = (
            select(
                held.c.object_key,
                func.max(held.c.bytes).label("bytes"),
                func.count(distinct(held.c.version_id)).label("versions"),
                func.count(distinct(held.c.dataset_id)).label("datasets"),
            )
            .group_by(held.c.object_key)
            .cte("objects")
        )
        stored = session.scalar(select(func.sum(objects.c.bytes)))
        by_version = session.execute(
            select(
                held.c.version_id,
                func.sum(held.c.bytes),
                func.sum(held.c.bytes).filter(objects.c.versions == 1),
            )
            .join(objects, objects.c.object_key == held.c.object_key)
            .group_by(held.c.version_id)
        )
        each = select(held.c.dataset_id, held.c.object_key).distinct().subquery()
        by_dataset = session.execute(
            select(
                each.c.dataset_id,
                func.sum(objects.c.bytes),
                func.sum(objects.c.bytes).filter(objects.c.datasets == 1),
            )
            .join(objects, objects.c.object_key == each.c.object_key)
            .group_by(each.c.dataset_id)
        )
        of_team = (
            select(VersionRow.id)
            .join(DatasetRow, DatasetRow.id == VersionRow.dataset_id)
            .where(DatasetRow.team == team)
        )
        uploads = session.execute(
            select(UploadRow.version_id, func.sum(UploadRow.bytes))
            .where(UploadRow.version_id.in_(of_team), UploadRow.kept)
            .group_by(UploadRow.version_id)
        )
        exports = session.execute(
            select(ExportRow.version_id, func.count())
            .where(ExportRow.team == team)
            .group_by(ExportRow.version_id)
        )
        return cls(
            stored=int(stored or 0),
            shards={v: (int(own or 0), int(total - (own or 0))) for v, total, own in by_version},
            datasets={d: (int(total), int(own or 0)) for d, total, own in by_dataset},
            uploads={version: int(size) for version, size in uploads},
            exports={version: int(count) for version, count in exports},
        )

    def version(
        self, dataset: DatasetRow, row: VersionRow, state: str, layers: list[api.LayerUsage]
    ) -> api.VersionUsage:
        """What one version stores."""
        own, shared = self.shards.get(row.id, (0, 0))
        return api.VersionUsage(
            version=row.number,
            state=state,
            in_use=row.number == dataset.latest,
            samples=row.samples or 0,
            own_bytes=own,
            shared_bytes=shared,
            upload_bytes=self.uploads.get(row.id, 0),
            layers=layers,
            exports=self.exports.get(row.id, 0),
            created_at=row.created_at,
        )


def _versions(session: Session, datasets: list[int]) -> dict[int, list[VersionRow]]:
    """The versions of each dataset, in order."""
    found: dict[int, list[VersionRow]] = {dataset: [] for dataset in datasets}
    rows = session.scalars(
        select(VersionRow)
        .where(VersionRow.dataset_id.in_(datasets), VersionRow.state.not_in(GONE))
        .order_by(VersionRow.dataset_id, VersionRow.number)
    )
    for row in rows:
        found[row.dataset_id].append(row)
    return found
