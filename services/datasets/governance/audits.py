"""Audits of a version: near-duplicates, and images that it shares with benchmarks."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.crashpoint import crashpoint
from services.chassis.storage.database import Database, exclusively
from services.chassis.storage.objects import ObjectStore
from services.chassis.web.errors import NotFound
from services.chassis.work.units import FAILED, Claim, WorkUnits
from services.chassis.work.worker import Report
from services.datasets.lookup import named_version, ready_version, shards_of, version_name
from services.datasets.tables import AuditRow, DatasetRow, ShardRow, VersionRow, WorkUnitRow
from services.datasets.versions.content import shard_file
from vila2.data.images.in_flight import cores
from vila2.data.images.perceptual_hash import clusters, near_pairs, perceptual_hash
from vila2.data.sample import Sample
from vila2.data.shards import read_shard
from vila2.schemas.refs import DatasetRef
from vila2.schemas.rest import datasets as api
from vila2.schemas.rest.base import Progress

AUDIT_TASK = "datasets.audit"
_EXAMPLES = 50


@dataclass(frozen=True, slots=True)
class _Looks:
    """Keys, SHA-256 digests and perceptual hashes (uint64) of a version's samples, in order."""

    keys: list[str]
    digests: list[str]
    hashes: np.ndarray


class Audits:
    """Owns the table `audits` and the objects below `looks/`."""

    def __init__(self, database: Database, objects: ObjectStore, units: WorkUnits) -> None:
        self._database, self._objects, self._units = database, objects, units

    def start(self, team: str, name: str, number: int, body: api.AuditIn) -> api.Audit:
        """Start an audit of a version; it replaces the previous one.

        Raises `NotFound` or `Conflict` if the version or a benchmark is unknown or not ready.
        """
        with self._database.transaction() as session:
            version = ready_version(session, team, name, number)
            exclusively(session, f"audit:{version.id}")
            chosen = body.benchmarks if body.benchmarks is not None else _benchmarks(session, team)
            held = [named_version(session, team, benchmark) for benchmark in chosen]
            row = session.get(AuditRow, version.id)
            if row is None:
                row = AuditRow(version_id=version.id, max_distance=body.max_distance)
                session.add(row)
            row.state, row.error, row.max_distance = "running", "", body.max_distance
            row.benchmarks = [str(DatasetRef(_name(session, one), one.number)) for one in held]
            session.flush()
            unit = session.get(WorkUnitRow, f"audit-{version.id}")
            if unit is not None:
                session.delete(unit)
                session.flush()
            self._units.add(
                session,
                [
                    WorkUnitRow(
                        id=f"audit-{version.id}",
                        task=AUDIT_TASK,
                        subject=f"audit-{version.id}",
                        payload={"version_id": version.id, "team": team},
                        progress=0,
                    )
                ],
            )
            session.flush()
            return self._audit(session, row)

    def get(self, team: str, name: str, number: int) -> api.Audit:
        """The last audit of a version; raises `NotFound` if there is none."""
        with self._database.transaction() as session:
            version = ready_version(session, team, name, number)
            row = session.get(AuditRow, version.id)
            if row is None:
                raise NotFound(
                    f"version {version.number} of {name} has not been audited",
                    fix=f"`vila2 datasets audit {name}@{version.number}`",
                )
            return self._audit(session, row)

    def run(self, claim: Claim, report: Report) -> None:
        """Hash images that are not hashed yet, compare them, and record the findings."""
        with self._database.transaction() as session:
            row = session.get_one(AuditRow, int(claim.payload["version_id"]))
            version = session.get_one(VersionRow, row.version_id)
            others = [
                (name, named_version(session, claim.payload["team"], DatasetRef.parse(name)))
                for name in row.benchmarks
            ]
        looks = self._looks(version.id, report, done=0)
        near = near_pairs(looks.hashes, max_distance=row.max_distance)
        groups = clusters(near.pairs)
        result = {
            "samples": len(looks.keys),
            "clusters": len(groups),
            "near_duplicates": sum(len(group) - 1 for group in groups),
            "uncompared": len(near.uncompared),
            "examples": _pairs(near.pairs, near.distances, looks.keys, looks.keys),
            "contamination": [
                self._against(name, looks, self._looks(other.id, report, done=len(looks.keys)), row)
                for name, other in others
                if other.id != version.id
            ],
        }
        crashpoint("audit.found")
        with self._database.transaction() as session:
            if self._units.complete(session, claim, {"samples": len(looks.keys)}):
                held = session.get_one(AuditRow, row.version_id)
                held.state, held.result = "done", result

    def _against(self, name: str, looks: _Looks, other: _Looks, row: AuditRow) -> dict[str, object]:
        ours = set(looks.digests)
        exact = {n for n, digest in enumerate(other.digests) if digest in ours}
        near = near_pairs(other.hashes, looks.hashes, max_distance=row.max_distance)
        # Closest first, so that the examples show the clearest cases.
        order = np.argsort(near.distances, kind="stable")
        pairs, distances = near.pairs[order], near.distances[order]
        return {
            "benchmark": name,
            "images": len(other.keys),
            "exact": len(exact),
            "near": len(set(near.pairs[:, 0].tolist()) - exact),
            "examples": _pairs(pairs, distances, other.keys, looks.keys),
        }

    def _looks(self, version_id: int, report: Report, *, done: int) -> _Looks:
        """Hashes of a version's images; each shard's are computed once and stored."""
        keys: list[str] = []
        digests: list[str] = []
        hashes: list[int] = []
        with self._database.transaction() as session:
            shards = shards_of(session, version_id)
            version = version_name(session, version_id)
        for shard in shards:
            where = f"looks/{version_id}/{shard.number:06d}-{shard.sha256[:16]}.parquet"
            if not self._objects.exists(where):
                self._objects.put(where, self._hashed(version, shard))
            table = pq.read_table(pa.BufferReader(self._objects.get(where)))
            keys += table["key"].to_pylist()
            digests += table["sha256"].to_pylist()
            hashes += table["phash"].to_pylist()
            report(done + len(keys))
        return _Looks(keys, digests, np.array(hashes, dtype=np.uint64))

    def _hashed(self, version: str, shard: ShardRow) -> bytes:
        rows = list(_hashes(read_shard(shard_file(self._objects, version, shard))))
        columns = list(zip(*rows, strict=True)) if rows else [(), (), ()]
        table = pa.table(
            {
                "key": pa.array(columns[0], pa.string()),
                "sha256": pa.array(columns[1], pa.string()),
                "phash": pa.array(columns[2], pa.uint64()),
            }
        )
        out = io.BytesIO()
        pq.write_table(table, out)
        return out.getvalue()

    def _audit(self, session: Session, row: AuditRow) -> api.Audit:
        version = session.get_one(VersionRow, row.version_id)
        unit = session.get(WorkUnitRow, f"audit-{row.version_id}")
        failed = row.state == "running" and unit is not None and unit.state == FAILED
        return api.Audit(
            dataset=_name(session, version),
            version=version.number,
            state="failed" if failed else row.state,
            max_distance=row.max_distance,
            error=unit.error if failed and unit is not None else "",
            progress=Progress(
                done=unit.progress if unit is not None else 0,
                total=version.samples,
                phase="hashing",
            ),
            **(row.result if row.state == "done" else {}),
        )


def _hashes(samples: Iterator[Sample]) -> Iterator[tuple[str, str, int]]:
    """Yield (key, SHA-256, perceptual hash) in order, with at most 64 images in memory."""
    with ThreadPoolExecutor(cores()) as pool:
        while batch := list(itertools.islice(samples, 64)):
            hashed = pool.map(perceptual_hash, [sample.image for sample in batch])
            for sample, found in zip(batch, hashed, strict=True):
                yield sample.key, sample.sha256, found


def _benchmarks(session: Session, team: str) -> list[DatasetRef]:
    rows = session.scalars(
        select(DatasetRow).where(
            DatasetRow.team == team, DatasetRow.kind == "benchmark", DatasetRow.latest > 0
        )
    )
    return [DatasetRef(row.name) for row in rows]


def _name(session: Session, version: VersionRow) -> str:
    return session.get_one(DatasetRow, version.dataset_id).name


def _pairs(
    pairs: np.ndarray, distances: np.ndarray, left: Sequence[str], right: Sequence[str]
) -> list[dict[str, object]]:
    return [
        {"key": left[one], "other": right[two], "distance": int(distance)}
        for (one, two), distance in zip(
            pairs[:_EXAMPLES].tolist(), distances[:_EXAMPLES].tolist(), strict=True
        )
    ]
