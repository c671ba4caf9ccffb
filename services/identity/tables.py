"""The tables of identity: teams, users and their roles, keys, limits, and the audit log."""

from __future__ import annotations

import time

from sqlalchemy import JSON, BigInteger, Float, ForeignKey, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# SQLite numbers rows by itself only in a column that is exactly an INTEGER.
_Serial = BigInteger().with_variant(Integer, "sqlite")


class Base(DeclarativeBase):
    """The metadata of identity."""


class TeamRow(Base):
    """A team: the owner of datasets, models and runs; services refer to it by name."""

    __tablename__ = "teams"

    name: Mapped[str] = mapped_column(String(60), primary_key=True)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    created_by: Mapped[str] = mapped_column(String(20), default="")


class UserRow(Base):
    """A user, by the name used at the identity provider (usually an email address)."""

    __tablename__ = "users"

    name: Mapped[str] = mapped_column(String(200), primary_key=True)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    created_by: Mapped[str] = mapped_column(String(20), default="")


class MemberRow(Base):
    """A user's role in a team."""

    __tablename__ = "members"

    team: Mapped[str] = mapped_column(ForeignKey("teams.name"), primary_key=True)
    user_name: Mapped[str] = mapped_column(ForeignKey("users.name"), primary_key=True)
    role: Mapped[str] = mapped_column(String(10))


class KeyRow(Base):
    """A key: its public prefix, the HMAC of its secret, and the name of that HMAC's pepper.

    `user_name` is empty for a key without a user. Rows of ended keys are kept, so that prefixes in
    the audit log can be resolved.
    """

    __tablename__ = "keys"

    prefix: Mapped[str] = mapped_column(String(20), primary_key=True)
    hmac: Mapped[str] = mapped_column(String(64))
    pepper: Mapped[str] = mapped_column(String(8))
    team: Mapped[str] = mapped_column(ForeignKey("teams.name"), index=True)
    user_name: Mapped[str] = mapped_column(String(200), default="")
    name: Mapped[str] = mapped_column(String(120), default="")
    scopes: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[float] = mapped_column(Float, default=time.time)
    created_by: Mapped[str] = mapped_column(String(20), default="")
    expires_at: Mapped[float | None] = mapped_column(Float)
    revoked_at: Mapped[float | None] = mapped_column(Float)
    replaced_by: Mapped[str] = mapped_column(String(20), default="")
    last_used_at: Mapped[float] = mapped_column(Float, default=0.0)


class LimitsRow(Base):
    """A team's limits; null means unlimited. The training service keeps GPU-hours."""

    __tablename__ = "limits"

    team: Mapped[str] = mapped_column(ForeignKey("teams.name"), primary_key=True)
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    images_per_day: Mapped[int | None] = mapped_column(BigInteger)
    storage_bytes: Mapped[int | None] = mapped_column(BigInteger)
    set_by: Mapped[str] = mapped_column(String(20))
    set_at: Mapped[float] = mapped_column(Float, default=time.time)


class AuditRow(Base):
    """A request that changed something or was refused, without its body or secret."""

    __tablename__ = "audit"
    __table_args__ = (Index("ix_audit_team_id", "team", "id"),)

    id: Mapped[int] = mapped_column(_Serial, primary_key=True, autoincrement=True)
    at: Mapped[float] = mapped_column(Float, index=True)
    service: Mapped[str] = mapped_column(String(20))
    method: Mapped[str] = mapped_column(String(10))
    route: Mapped[str] = mapped_column(String(200))
    path: Mapped[str] = mapped_column(String(500))
    status: Mapped[int] = mapped_column(Integer)
    key: Mapped[str] = mapped_column(String(20))
    user_name: Mapped[str] = mapped_column(String(200))
    team: Mapped[str] = mapped_column(String(60))
    request_id: Mapped[str] = mapped_column(String(64))
