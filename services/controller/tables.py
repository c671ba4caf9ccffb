"""The controller's tables."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import JSON, Boolean, Float, ForeignKey, Integer, String, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from services.chassis.web.idempotency import TokenColumns


class Base(DeclarativeBase):
    """The service's metadata."""


class RunRow(TokenColumns, Base):
    """A run of a recipe; `version` is what compare-and-set compares.

    `recipe` is the one in force, number `recipe_number` of those in `run_recipes`. `origin` says of
    a branch which run and round it grew from; `trouble` why nothing could be done just now.
    """

    __tablename__ = "runs"
    __table_args__ = (UniqueConstraint("team", "token"),)

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60))
    name: Mapped[str] = mapped_column(String(100))
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    recipe_hash: Mapped[str] = mapped_column(String(16))
    recipe_number: Mapped[int] = mapped_column(Integer, default=1)
    origin: Mapped[dict[str, str] | None] = mapped_column(JSON, default=None)
    state: Mapped[str] = mapped_column(String(12), default="running", index=True)
    version: Mapped[int] = mapped_column(Integer, default=0)
    error: Mapped[str] = mapped_column(String, default="")
    trouble: Mapped[str] = mapped_column(String, default="")
    events: Mapped[int] = mapped_column(Integer, default=0)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    finished_at: Mapped[float] = mapped_column(Float, default=0.0)


class RecipeRow(Base):
    """A recipe that a run has had; rounds keep the one that they began with."""

    __tablename__ = "run_recipes"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    recipe: Mapped[dict[str, Any]] = mapped_column(JSON)
    recipe_hash: Mapped[str] = mapped_column(String(16))
    by: Mapped[str] = mapped_column(String(100), default="")
    reason: Mapped[str] = mapped_column(String, default="")
    at: Mapped[float] = mapped_column(Float, default=time.time)


class RoundRow(Base):
    """One model of a run; `version` is what compare-and-set compares.

    `recipe_number` is the recipe that it follows, `failed_in` the step that failed, `tries` how
    often each step was restarted, by the step's name in its keys. A round that is trained
    with several seeds has all their models and evaluations in `seed_models` and `seed_evaluations`,
    and the first seed's in `model` and `evaluate_job` (`seeds.py`).
    """

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
    seed_models: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)  # seed -> model
    seed_evaluations: Mapped[dict[str, str]] = mapped_column(JSON, default=dict)  # seed -> job
    scores: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    verdict: Mapped[dict[str, Any] | None] = mapped_column(JSON, default=None)
    recipe_number: Mapped[int] = mapped_column(Integer, default=1)
    failed_in: Mapped[str] = mapped_column(String(12), default="")
    tries: Mapped[dict[str, int]] = mapped_column(JSON, default=dict)
    origin: Mapped[dict[str, str] | None] = mapped_column(JSON, default=None)
    error: Mapped[str] = mapped_column(String, default="")
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    ended_at: Mapped[float] = mapped_column(Float, default=0.0)


class EventRow(Base):
    """One thing that happened to a run; the body is a `RunEvent` of proto/.

    The table is the outbox too: `relayed` is set once the event has been published.
    """

    __tablename__ = "events"

    run_id: Mapped[str] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    sequence: Mapped[int] = mapped_column(Integer, primary_key=True)
    body: Mapped[str] = mapped_column(String)
    relayed: Mapped[bool] = mapped_column(Boolean, default=False, index=True)


class LeaseRow(Base):
    """Leader leases: one row per role, renewed by its holder."""

    __tablename__ = "leases"

    role: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(120), default="")
    fence: Mapped[int] = mapped_column(Integer, default=0)
    until: Mapped[float] = mapped_column(Float, default=0.0)


class EstimateRow(Base):
    """What a run of a recipe was expected to take; the body is an `Estimate` of the REST models."""

    __tablename__ = "estimates"

    id: Mapped[str] = mapped_column(String(40), primary_key=True)
    team: Mapped[str] = mapped_column(String(60), index=True)
    recipe_hash: Mapped[str] = mapped_column(String(16), index=True)
    body: Mapped[dict[str, Any]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
