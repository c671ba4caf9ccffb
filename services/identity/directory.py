"""Lookup of keys, roles and limits for every request, cached for a few seconds.

Results are cached for `FRESH_SECONDS`. A revoked key, a removed role or a new limit takes effect at
once in the process that made the change, and within that time in all others.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar

import structlog
from sqlalchemy import select, update
from sqlalchemy.exc import SQLAlchemyError

from services.chassis.storage.database import Database
from services.chassis.web.errors import Unauthenticated
from services.identity.peppers import Peppers
from services.identity.scopes import Principal, effective
from services.identity.tables import KeyRow, LimitsRow, MemberRow, TeamRow
from services.identity.teams import limits_of
from vila2.schemas.rest.identity import Limits

K = TypeVar("K")
V = TypeVar("V")
_log = structlog.get_logger()
FRESH_SECONDS = 5.0
# `last used` is for finding unused keys, so a precision of one minute is enough.
USED_SECONDS = 60.0
# Bounded, so that requests with made-up prefixes cannot fill the memory.
_REMEMBERED = 10_000


@dataclass(slots=True)
class HeldKey:
    """A key as stored in the tables."""

    prefix: str
    digest: str
    pepper: str
    team: str
    user: str
    scopes: tuple[str, ...]
    role: str | None
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float


class Directory:
    """Cached lookups. Thread-safe."""

    def __init__(self, database: Database, peppers: Peppers) -> None:
        self._database, self._peppers = database, peppers
        self._keys: dict[str, tuple[float, HeldKey | None]] = {}
        self._limits: dict[str, tuple[float, Limits]] = {}
        self._members: dict[tuple[str, str], tuple[float, str | None]] = {}

    def principal(self, key: str) -> Principal:
        """The holder of `key` (PREFIX.SECRET); raises `Unauthenticated`.

        The error says why a key has ended only if the secret is correct.
        """
        prefix, _, secret = key.partition(".")
        held = self._key(prefix)
        digest, pepper = (held.digest, held.pepper) if held else ("", "")
        if not self._peppers.fits(secret, digest=digest, pepper=pepper) or held is None:
            if held is not None and not self._peppers.holds(held.pepper):
                _log.error("a key's pepper is missing", key=prefix, pepper=held.pepper)
            raise Unauthenticated("unknown key", field="Authorization", fix="check or renew it")
        now = time.time()
        reason = ended(held, now)
        if reason:
            raise Unauthenticated(
                f"this key {reason}", field="Authorization", fix="ask for a new one"
            )
        self._used(held, now)
        scopes = effective(held.scopes, owned=bool(held.user), role=held.role)
        return Principal(held.prefix, held.team, scopes, held.user)

    def limits(self, team: str) -> Limits:
        """A team's limits."""
        now = time.monotonic()
        until, limits = self._limits.get(team, (0.0, Limits()))
        if now >= until:
            with self._database.reading() as session:
                limits = limits_of(session.get(LimitsRow, team))
            _keep(self._limits, team, (now + FRESH_SECONDS, limits))
        return limits

    def role(self, team: str, user: str) -> str | None:
        """A user's role in a team, or `None`."""
        now, which = time.monotonic(), (team, user)
        until, role = self._members.get(which, (0.0, None))
        if now >= until:
            with self._database.reading() as session:
                row = session.get(MemberRow, which)
                role = row.role if row else None
            _keep(self._members, which, (now + FRESH_SECONDS, role))
        return role

    def has_team(self, team: str) -> bool:
        """Whether there is such a team."""
        with self._database.reading() as session:
            return session.get(TeamRow, team) is not None

    def forget(self) -> None:
        """Clear the cache after a change."""
        self._keys.clear()
        self._limits.clear()
        self._members.clear()

    def _key(self, prefix: str) -> HeldKey | None:
        now = time.monotonic()
        until, held = self._keys.get(prefix, (0.0, None))
        if now >= until:
            held = self._looked_up(prefix)
            _keep(self._keys, prefix, (now + FRESH_SECONDS, held))
        return held

    def _looked_up(self, prefix: str) -> HeldKey | None:
        with self._database.reading() as session:
            found = session.execute(
                select(KeyRow, MemberRow.role)
                .outerjoin(
                    MemberRow,
                    (MemberRow.team == KeyRow.team) & (MemberRow.user_name == KeyRow.user_name),
                )
                .where(KeyRow.prefix == prefix)
            ).first()
        if found is None:
            return None
        row, role = found
        return HeldKey(
            prefix=row.prefix,
            digest=row.hmac,
            pepper=row.pepper,
            team=row.team,
            user=row.user_name,
            scopes=tuple(row.scopes),
            role=role,
            expires_at=row.expires_at,
            revoked_at=row.revoked_at,
            last_used_at=row.last_used_at,
        )

    def _used(self, held: HeldKey, now: float) -> None:
        """Update the key's last use, at most once a minute across all processes."""
        if now - held.last_used_at < USED_SECONDS:
            return
        held.last_used_at = now
        try:
            with self._database.transaction() as session:
                session.execute(
                    update(KeyRow)
                    .where(KeyRow.prefix == held.prefix, KeyRow.last_used_at < now - USED_SECONDS)
                    .values(last_used_at=now)
                )
        except SQLAlchemyError:
            # Informational only: a failure must not fail the request.
            _log.exception("the use of a key was not written down", key=held.prefix)


def ended(held: HeldKey, now: float) -> str:
    """Why a key is no longer valid, or the empty string. Pure."""
    if held.revoked_at is not None:
        return f"was revoked at {_time(held.revoked_at)}"
    if held.expires_at is not None and held.expires_at <= now:
        return f"expired at {_time(held.expires_at)}"
    return ""


def _keep(memory: dict[K, V], key: K, value: V) -> None:
    if len(memory) >= _REMEMBERED:
        memory.clear()
    memory[key] = value


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
