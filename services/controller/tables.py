"""The controller's tables."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, Float, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The service's metadata."""


class RunRow(Base):
    """A run of a recipe."""

    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    token: Mapped[str] = mapped_column(String(200))
    name: Mapped[str] = mapped_column(String(100))
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    recipe_hash: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(12), default="running", index=True)
    error: Mapped[str] = mapped_column(String, default="")
    events: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    finished_at: Mapped[float] = mapped_column(Float, default=0.0)


class RoundRow(Base):
    """One model of a run; `version` is what compare-and-set compares."""

    __tablename__ = "rounds"
    __table_args__ = (UniqueConstraint("run_id", "name"),)

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), index=True)
    name: Mapped[str] = mapped_column(String(80))
    kind: Mapped[str] = mapped_column(String(12))
    position: Mapped[int] = mapped_column(Integer)
    state: Mapped[str] = mapped_column(String(12), default="pending")
    version: Mapped[int] = mapped_column(Integer, default=0)
    layer_job: Mapped[str] = mapped_column(String(40), default="")
    layer: Mapped[str] = mapped_column(String(40), default="")
    specialists: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)  # name -> id
    skill_layers: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)  # name -> layer
    train_job: Mapped[str] = mapped_column(String(40), default="")
    model: Mapped[str] = mapped_column(String(200), default="")
    evaluate_job: Mapped[str] = mapped_column(String(40), default="")
    scores: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    ended_at: Mapped[float] = mapped_column(Float, default=0.0)


class EventRow(Base):
    """One thing that happened to a run; the body is a `RunEvent` of proto/."""

    __tablename__ = "events"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True)
    body: Mapped[str] = mapped_column(String)


class EstimateRow(Base):
    """What a run of a recipe was expected to take; the body is an `Estimate` of the REST models."""

    __tablename__ = "estimates"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    recipe_hash: Mapped[str] = mapped_column(String(16), index=True)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
