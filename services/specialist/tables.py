"""The specialist service's table."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, Float, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.web.idempotency import TokenColumns


class Base(DeclarativeBase):
    """The service's metadata."""


class SpecialistRow(TokenColumns, Base):
    """A specialist at work: training, then captioning, then done."""

    __tablename__ = "specialists"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(12), default="training", index=True)
    job: Mapped[str] = mapped_column(String(40), default="")
    model: Mapped[str] = mapped_column(String(200), default="")
    layer_job: Mapped[str] = mapped_column(String(40), default="")
    layer: Mapped[str] = mapped_column(String(40), default="")
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
