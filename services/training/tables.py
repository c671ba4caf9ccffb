"""The training dispatcher's and the model registry's tables."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, BigInteger, Boolean, Float, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.web.idempotency import TokenColumns


class Base(DeclarativeBase):
    """The service's metadata."""


class JobRow(TokenColumns, Base):
    """A job for an execution backend; `handle` identifies it to the backend.

    A dispatcher that starts a job holds it by `fence` until `lease_until`. A job with several seeds
    has `children` jobs, each of which names it as `parent`, and is never started itself.
    """

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(12))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    priority: Mapped[int] = mapped_column(Integer, default=0)
    state: Mapped[str] = mapped_column(String(12), default="queued", index=True)
    attempt: Mapped[int] = mapped_column(Integer, default=0)
    handle: Mapped[str] = mapped_column(String(200), default="")
    model: Mapped[str] = mapped_column(String(200), default="")
    result: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    error: Mapped[str] = mapped_column(String, default="")
    run: Mapped[str] = mapped_column(String(200), default="", index=True)
    parent: Mapped[str] = mapped_column(String(40), default="", index=True)
    children: Mapped[int] = mapped_column(Integer, default=0)
    unit: Mapped[str] = mapped_column(String(8), default="process")
    processes: Mapped[int] = mapped_column(Integer, default=1)
    fence: Mapped[int] = mapped_column(Integer, default=0)
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    cancel_wanted: Mapped[bool] = mapped_column(Boolean, default=False)
    waiting: Mapped[str] = mapped_column(String(300), default="")
    lineage: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    started_at: Mapped[float] = mapped_column(Float, default=0.0)
    ended_at: Mapped[float] = mapped_column(Float, default=0.0)


class AttemptRow(Base):
    """One attempt at a job: the processes and device that it used, when, and how it ended.

    `ended_at` is 0 while it runs; a job has at most one such attempt.
    """

    __tablename__ = "attempts"

    job: Mapped[str] = mapped_column(String(40), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    run: Mapped[str] = mapped_column(String(200))
    unit: Mapped[str] = mapped_column(String(8))
    processes: Mapped[int] = mapped_column(Integer)
    started_at: Mapped[float] = mapped_column(Float)
    ended_at: Mapped[float] = mapped_column(Float, default=0.0, index=True)
    ended: Mapped[str] = mapped_column(String(12), default="")


class QuotaRow(Base):
    """A team's quota."""

    __tablename__ = "quotas"

    team: Mapped[str] = mapped_column(String(60), primary_key=True)
    gpu_hours: Mapped[float | None] = mapped_column(Float)
    process_hours: Mapped[float | None] = mapped_column(Float)
    period: Mapped[str] = mapped_column(String(8), default="month")
    max_jobs: Mapped[int | None] = mapped_column(Integer)
    share: Mapped[float] = mapped_column(Float, default=1.0)
    set_by: Mapped[str] = mapped_column(String(60))
    set_at: Mapped[float] = mapped_column(Float, default=time.time)


class ModelRow(Base):
    """A model of the registry: its weights are immutable and named by their digest.

    `short_name` is the name under which a team added a model from elsewhere, and `origin` its
    source; both are empty for a model that was trained here. A `hidden` model is still being
    tested. `revision` increases with every new fact about the model; `carded` is the revision that
    the card beside its weights describes.
    """

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    sha256: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str] = mapped_column(String(200))
    job: Mapped[str] = mapped_column(String(40))
    short_name: Mapped[str] = mapped_column(String(60), default="", index=True)
    origin: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    hidden: Mapped[bool] = mapped_column(Boolean, default=False)
    object_prefix: Mapped[str] = mapped_column(String(200))
    parameters: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[list[str]] = mapped_column(JSON)
    files: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    lineage: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    config: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    result: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    run: Mapped[str] = mapped_column(String(200), default="")
    revision: Mapped[int] = mapped_column(Integer, default=1)
    carded: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class ModelImportRow(TokenColumns, Base):
    """A model that is being imported; `lease_until` protects the process working on it."""

    __tablename__ = "model_imports"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    name: Mapped[str] = mapped_column(String(60))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(12), index=True)
    phase: Mapped[str] = mapped_column(String(200), default="")
    sha256: Mapped[str] = mapped_column(String(64), default="")
    model: Mapped[str] = mapped_column(String(200), default="")
    answer: Mapped[str] = mapped_column(String, default="")
    error: Mapped[str] = mapped_column(String, default="")
    lease_until: Mapped[float] = mapped_column(Float, default=0.0)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class EvaluationRow(Base):
    """A model's score on a benchmark, from one evaluation job or one import.

    `source` is empty for a job of this platform. For an import it names the program, and
    `benchmark` begins with it. Without an interval `low` and `high` are null.
    """

    __tablename__ = "evaluations"

    job: Mapped[str] = mapped_column(String(40), primary_key=True)
    benchmark: Mapped[str] = mapped_column(String(200), primary_key=True)
    model: Mapped[str] = mapped_column(String(200), index=True)
    version: Mapped[str] = mapped_column(String(400))
    value: Mapped[float] = mapped_column(Float)
    low: Mapped[float | None] = mapped_column(Float)
    high: Mapped[float | None] = mapped_column(Float)
    items: Mapped[int] = mapped_column(Integer)
    metric: Mapped[str] = mapped_column(String(100), default="")
    source: Mapped[str] = mapped_column(String(40), default="")
    figures: Mapped[list[dict[str, Any]]] = mapped_column(JSON, default=list)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
