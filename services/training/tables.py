"""The training dispatcher's tables."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, BigInteger, Float, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The service's metadata."""


class JobRow(Base):
    """A job handed to an execution backend; `handle` is how the backend finds it again."""

    __tablename__ = "jobs"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    token: Mapped[str] = mapped_column(String(200))
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
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    started_at: Mapped[float] = mapped_column(Float, default=0.0)
    ended_at: Mapped[float] = mapped_column(Float, default=0.0)


class ModelRow(Base):
    """A model of the registry: immutable, named by its digest."""

    __tablename__ = "models"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    sha256: Mapped[str] = mapped_column(String(64))
    parent: Mapped[str] = mapped_column(String(200))
    job: Mapped[str] = mapped_column(String(40))
    object_prefix: Mapped[str] = mapped_column(String(200))
    parameters: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
