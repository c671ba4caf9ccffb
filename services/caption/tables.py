"""The caption service's tables."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.web.idempotency import TokenColumns
from services.chassis.work.units import WorkUnitColumns


class Base(DeclarativeBase):
    """The service's metadata."""


class CaptionJobRow(TokenColumns, Base):
    """A caption job.

    `planned` of its `shards` have units; `captioned`, `quarantined`, `tokens` and `seconds` are the
    sums over the recorded units. `waiting` is the reason why a running job starts no shards at
    present, and `waiting_until` the end of the wait (Unix time, seconds). `cost` is the cost of all
    answers so far, `reserved` the maximum cost of the requests in flight, and `budget` the limit on
    their sum.
    """

    __tablename__ = "caption_jobs"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    layer: Mapped[str] = mapped_column(String(40))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    model_prefix: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column()
    samples: Mapped[int] = mapped_column(BigInteger)
    shards: Mapped[int] = mapped_column(default=0, server_default="0")
    planned: Mapped[int] = mapped_column(default=0, server_default="0")
    captioned: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    quarantined: Mapped[dict[str, int]] = mapped_column(JSON, default=dict, server_default="{}")
    tokens: Mapped[int] = mapped_column(BigInteger, default=0, server_default="0")
    seconds: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    cost: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    reserved: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    budget: Mapped[float | None] = mapped_column(Float, default=None)
    state: Mapped[str] = mapped_column(String(12), default="running", index=True)
    waiting: Mapped[str] = mapped_column(String(300), default="", server_default="")
    waiting_until: Mapped[float] = mapped_column(Float, default=0.0, server_default="0")
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class ImageDayRow(Base):
    """Images captioned for a team on a UTC day, in layers and direct requests."""

    __tablename__ = "image_days"

    team: Mapped[str] = mapped_column(String(60), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    images: Mapped[int] = mapped_column(BigInteger)


class ServedModelRow(Base):
    """A model that is, was, or failed to be loaded on an inference server (HOST:PORT)."""

    __tablename__ = "served_models"

    server: Mapped[str] = mapped_column(String(200), primary_key=True)
    prefix: Mapped[str] = mapped_column(String(200), primary_key=True)
    state: Mapped[str] = mapped_column(String(12))
    bytes: Mapped[int] = mapped_column(BigInteger, default=0)
    since: Mapped[float] = mapped_column(Float, default=time.time)
    used_at: Mapped[float] = mapped_column(Float, default=time.time)
    error: Mapped[str] = mapped_column(String, default="")


class EndpointRow(Base):
    """A stable name for a model that can be switched."""

    __tablename__ = "endpoints"

    team: Mapped[str] = mapped_column(String(60), primary_key=True)
    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    deployment: Mapped[str] = mapped_column(String(40), default="")
    previous: Mapped[str] = mapped_column(String(40), default="")


class DeploymentRow(Base):
    """One attempt to deploy a model to an endpoint, with the results of its checks.

    `sha256` is the registered digest and `digest` that of the stored weights, empty until they are
    read. `evaluations` are those of the registry when the deployment was requested.
    """

    __tablename__ = "deployments"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    endpoint: Mapped[str] = mapped_column(String(60))
    model: Mapped[str] = mapped_column(String(200))
    model_prefix: Mapped[str] = mapped_column(String(200))
    state: Mapped[str] = mapped_column(String(12), index=True)
    asked_by: Mapped[str] = mapped_column(String(60))
    note: Mapped[str] = mapped_column(String, default="")
    skip_golden: Mapped[bool] = mapped_column(default=False)
    require: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    evaluations: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    sha256: Mapped[str] = mapped_column(String(64))
    digest: Mapped[str] = mapped_column(String(64), default="")
    certificate: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    changed_at: Mapped[float] = mapped_column(Float, default=time.time)


class WorkUnitRow(WorkUnitColumns, Base):
    """One unit per shard of a layer."""

    __tablename__ = "work_units"
