"""The dataset store's tables: rows per shard, never per image."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Float,
    ForeignKey,
    Integer,
    String,
    UniqueConstraint,
    false,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.web.idempotency import TokenColumns
from services.chassis.work.units import WorkUnitColumns


class Base(DeclarativeBase):
    """The service's metadata."""


class DatasetRow(Base):
    """A named dataset of a team; `latest` is the version that its bare name means.

    The row of a deleted dataset stays, so that its versions' numbers are not used again.
    """

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("team", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    name: Mapped[str] = mapped_column(String(63))
    kind: Mapped[str] = mapped_column(String(20))
    latest: Mapped[int] = mapped_column(Integer, default=0)
    deleted: Mapped[bool] = mapped_column(Boolean, default=False, server_default=false())


class VersionRow(TokenColumns, Base):
    """A version: open for uploads, then ingesting, then ready and immutable.

    If it is deleted it is `deleting`, then `deleted`; its row and its number stay.

    `format` is "" where a client read the data and uploads raw samples, else the format that the
    store reads itself; `origin` names the configured source whose tars stay where they are.
    """

    __tablename__ = "versions"
    __table_args__ = (
        UniqueConstraint("dataset_id", "number"),
        UniqueConstraint("dataset_id", "token"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    number: Mapped[int] = mapped_column(Integer)
    source: Mapped[str] = mapped_column(String, default="")
    licence: Mapped[str] = mapped_column(String(200), default="")
    format: Mapped[str] = mapped_column(String(20), default="")
    options: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    origin: Mapped[str] = mapped_column(String(63), default="")
    prefix: Mapped[str] = mapped_column(String(400), default="")
    shard_samples: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(12), default="open")
    shards: Mapped[int] = mapped_column(Integer, default=0)
    samples: Mapped[int] = mapped_column(BigInteger, default=0)
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    rejected: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    examples: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    notes: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    repeated_captions: Mapped[int] = mapped_column(BigInteger, default=0)
    taken_down: Mapped[int] = mapped_column(BigInteger, default=0)
    sha256: Mapped[str] = mapped_column(String(64), default="")
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class UploadRow(Base):
    """An uploaded part of raw samples (`file` is "") or piece of a file.

    `kept` is true while its object exists; the object is removed once the version is ready.
    """

    __tablename__ = "uploads"

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    file: Mapped[str] = mapped_column(String(300), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    kept: Mapped[bool] = mapped_column(Boolean, default=True)


class ReservationRow(Base):
    """Bytes of a team that are being stored; counted until `until` (Unix time, seconds)."""

    __tablename__ = "reservations"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    bytes: Mapped[int] = mapped_column(BigInteger)
    until: Mapped[float] = mapped_column(Float)


class ShardRow(Base):
    """A shard of a version: its data (`object_key`) and its index.

    The shards of a ready version are numbered from 0 without a gap, and none is ever taken away.
    Those of a version that is being ingested are rows before their objects are stored.
    """

    __tablename__ = "shards"

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    object_key: Mapped[str] = mapped_column(String(400), index=True)
    index_key: Mapped[str] = mapped_column(String(400), default="")
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(BigInteger)
    samples: Mapped[int] = mapped_column(Integer)


class LayerRow(TokenColumns, Base):
    """A caption layer over a version; its counts are the sums over its shards."""

    __tablename__ = "layers"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), index=True)
    team: Mapped[str] = mapped_column(String(60))
    name: Mapped[str] = mapped_column(String(200))
    recipe_hash: Mapped[str] = mapped_column(String(64))
    captioner: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(12), default="open")
    recorded: Mapped[int] = mapped_column(Integer, default=0)
    captioned: Mapped[int] = mapped_column(BigInteger, default=0)
    quarantined: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class LayerShardRow(Base):
    """The captions of one shard."""

    __tablename__ = "layer_shards"

    layer_id: Mapped[str] = mapped_column(ForeignKey("layers.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    object_key: Mapped[str] = mapped_column(String(400))
    sha256: Mapped[str] = mapped_column(String(64))
    captioned: Mapped[int] = mapped_column(Integer)
    quarantined: Mapped[dict[str, int]] = mapped_column(JSON)


class AuditRow(Base):
    """A search for near-duplicates and benchmark images in one version, and what it found."""

    __tablename__ = "audits"

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    state: Mapped[str] = mapped_column(String(12), default="running")
    benchmarks: Mapped[list[str]] = mapped_column(JSON, default=list)
    max_distance: Mapped[int] = mapped_column(Integer)
    result: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class TakedownRow(Base):
    """A takedown: an image to remove from every version and layer, and what was done."""

    __tablename__ = "takedowns"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    sha256: Mapped[str] = mapped_column(String(64), index=True)
    reason: Mapped[str] = mapped_column(String(2000))
    requested_by: Mapped[str] = mapped_column(String(200))
    by_key: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(12), default="running")
    effects: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class DeletionRow(Base):
    """The deletion of a version, or of a whole dataset (`version` is 0), and what was done."""

    __tablename__ = "deletions"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    dataset: Mapped[str] = mapped_column(String(63))
    version: Mapped[int] = mapped_column(Integer)
    reason: Mapped[str] = mapped_column(String(2000), default="")
    by_key: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(12), default="running")
    effects: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class ExportRow(TokenColumns, Base):
    """A recorded export, with its waiver if the layer was not sealed."""

    __tablename__ = "exports"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    layer_id: Mapped[str] = mapped_column(String(40), default="")
    format: Mapped[str] = mapped_column(String(20))
    text: Mapped[str] = mapped_column(String(20))
    waiver: Mapped[str] = mapped_column(String(2000), default="")
    by_key: Mapped[str] = mapped_column(String(20))
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class HistoryRow(Base):
    """A change of the version or layer in use, and who made it."""

    __tablename__ = "history"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    action: Mapped[str] = mapped_column(String(40))
    subject: Mapped[str] = mapped_column(String(300))
    detail: Mapped[str] = mapped_column(String(2000), default="")
    by_key: Mapped[str] = mapped_column(String(20))
    at: Mapped[float] = mapped_column(Float, default=time.time)


class WorkUnitRow(WorkUnitColumns, Base):
    """Ingest, exclusions, audits, take-downs and deletions."""

    __tablename__ = "work_units"
