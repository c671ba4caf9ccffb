"""The dataset store's tables: rows per shard, never per picture."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.work import WorkUnitColumns


class Base(DeclarativeBase):
    """The service's metadata."""


class DatasetRow(Base):
    """A named dataset of a team."""

    __tablename__ = "datasets"
    __table_args__ = (UniqueConstraint("team", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    name: Mapped[str] = mapped_column(String(63))
    kind: Mapped[str] = mapped_column(String(20))
    latest: Mapped[int] = mapped_column(Integer, default=0)


class VersionRow(Base):
    """A version: open for parts, then ingesting, then ready and immutable."""

    __tablename__ = "versions"
    __table_args__ = (UniqueConstraint("dataset_id", "number"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    dataset_id: Mapped[int] = mapped_column(ForeignKey("datasets.id"))
    number: Mapped[int] = mapped_column(Integer)
    token: Mapped[str] = mapped_column(String(200), default="", index=True)
    source: Mapped[str] = mapped_column(String, default="")
    shard_samples: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(12), default="open")
    parts: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)  # number -> sha256
    samples: Mapped[int] = mapped_column(Integer, default=0)
    bytes: Mapped[int] = mapped_column(Integer, default=0)
    rejected: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    examples: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    notes: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    repeated_captions: Mapped[int] = mapped_column(Integer, default=0)
    sha256: Mapped[str] = mapped_column(String(64), default="")
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class ShardRow(Base):
    """A shard of a version."""

    __tablename__ = "shards"

    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    object_key: Mapped[str] = mapped_column(String(400))
    sha256: Mapped[str] = mapped_column(String(64))
    bytes: Mapped[int] = mapped_column(Integer)
    samples: Mapped[int] = mapped_column(Integer)


class LayerRow(Base):
    """A caption layer over a version."""

    __tablename__ = "layers"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("versions.id"))
    team: Mapped[str] = mapped_column(String(60))
    token: Mapped[str] = mapped_column(String(200), default="", index=True)
    name: Mapped[str] = mapped_column(String(200))
    recipe_hash: Mapped[str] = mapped_column(String(64))
    captioner: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(12), default="open")
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


class WorkUnitRow(WorkUnitColumns, Base):
    """Ingest work."""

    __tablename__ = "work_units"
