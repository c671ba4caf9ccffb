"""The caption service's tables."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, Float, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.work import WorkUnitColumns


class Base(DeclarativeBase):
    """The service's metadata."""


class LayerJobRow(Base):
    """A layer in the making."""

    __tablename__ = "layer_jobs"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    token: Mapped[str] = mapped_column(String(200), index=True)
    layer: Mapped[str] = mapped_column(String(40))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    model_prefix: Mapped[str] = mapped_column(String(200))
    version: Mapped[int] = mapped_column()
    samples: Mapped[int] = mapped_column()
    state: Mapped[str] = mapped_column(String(12), default="running")
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)


class WorkUnitRow(WorkUnitColumns, Base):
    """One unit per shard of a layer."""

    __tablename__ = "work_units"
