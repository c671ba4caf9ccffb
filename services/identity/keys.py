"""API keys: create, list, rotate and revoke. `directory` checks them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from sqlalchemy import select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database
from services.chassis.web.errors import Conflict, Forbidden, Invalid, NotFound
from services.chassis.web.paging import WHOLE, Page
from services.identity.peppers import KeyText, Peppers
from services.identity.scopes import (
    ACT_AS,
    ALL_SCOPES,
    ROLES,
    TEAM_SCOPES,
    Principal,
    not_grantable,
)
from services.identity.tables import KeyRow, MemberRow, TeamRow
from services.identity.teams import see, team_row
from vila2.schemas.rest import identity as api


class Keys:
    """Owns the table `keys`; calls `changed` after a key changes."""

    def __init__(self, database: Database, peppers: Peppers, changed: Callable[[], None]) -> None:
        self._database, self._peppers, self._changed = database, peppers, changed

    def issue(self, *, team: str, scopes: Iterable[str] = TEAM_SCOPES, name: str = "") -> str:
        """Create a key for the platform itself, without a caller; creates the team if necessary."""
        made = self._peppers.new_key()
        with self._database.transaction() as session:
            if session.get(TeamRow, team) is None:
                session.add(TeamRow(name=team))
                session.flush()
            session.add(_row(made, team=team, scopes=[*scopes], name=name))
        return made.whole

    def create(self, caller: Principal, team: str, body: api.KeyIn) -> api.NewKey:
        """Create a key for a team, with at most the caller's own scopes."""
        see(caller, team)
        with self._database.transaction() as session:
            team_row(session, team)
            role = _role_of(session, team, body.user)
            scopes = _scopes(body, role)
            _grantable(scopes, caller)
            made = self._peppers.new_key()
            now = time.time()
            days = body.expires_in_days
            row = _row(made, team=team, scopes=scopes, name=body.name)
            row.user_name, row.created_by = body.user, caller.key
            row.expires_at = None if days is None else now + days * api.DAY
            session.add(row)
            session.flush()
            return api.NewKey(**_key(row, now).model_dump(), key=made.whole)

    def of_team(self, caller: Principal, team: str, page: Page = WHOLE) -> list[api.Key]:
        """All keys of a team, including ended ones, newest first."""
        see(caller, team)
        with self._database.reading() as session:
            team_row(session, team)
            query = select(KeyRow).where(KeyRow.team == team)
            newest = page.rows(session, query, KeyRow.created_at, KeyRow.prefix, newest_first=True)
            return [_key(row, time.time()) for row in newest]

    def rotate(self, caller: Principal, team: str, prefix: str, body: api.RotateIn) -> api.NewKey:
        """Replace a key; the old one expires after the overlap, or earlier if it would anyway."""
        see(caller, team)
        now = time.time()
        with self._database.transaction() as session:
            old = _held(session, team, prefix)
            if _state(old, now) != "active":
                raise Conflict(
                    f"key {prefix} is {_state(old, now)}", field="prefix", fix="create a new one"
                )
            if old.replaced_by:
                raise Conflict(
                    f"key {prefix} was rotated already: {old.replaced_by} replaces it",
                    field="prefix",
                    fix=f"rotate {old.replaced_by}",
                )
            _grantable(old.scopes, caller)
            made = self._peppers.new_key()
            row = _row(made, team=team, scopes=old.scopes, name=old.name)
            row.user_name, row.created_by = old.user_name, caller.key
            if old.expires_at is not None:
                # The same lifetime as the old key's.
                row.expires_at = now + (old.expires_at - old.created_at)
            session.add(row)
            end = now + body.overlap_hours * 3600
            old.expires_at = end if old.expires_at is None else min(end, old.expires_at)
            old.replaced_by = made.prefix
            session.flush()
            new = api.NewKey(**_key(row, now).model_dump(), key=made.whole)
        self._changed()
        return new

    def revoke(self, caller: Principal, team: str, prefix: str) -> api.Key:
        """Revoke a key; its row is kept. Idempotent."""
        see(caller, team)
        with self._database.transaction() as session:
            row = _held(session, team, prefix)
            # Otherwise a team's admin could revoke the platform's own keys in that team.
            _grantable(row.scopes, caller)
            if row.revoked_at is None:
                row.revoked_at = time.time()
            revoked = _key(row, time.time())
        self._changed()
        return revoked


def _row(made: KeyText, *, team: str, scopes: list[str], name: str) -> KeyRow:
    return KeyRow(
        prefix=made.prefix,
        hmac=made.digest,
        pepper=made.pepper,
        team=team,
        name=name,
        scopes=list(scopes),
    )


def _held(session: Session, team: str, prefix: str) -> KeyRow:
    row = session.get(KeyRow, prefix, with_for_update=True)
    if row is None or row.team != team:
        raise NotFound(f"team {team} has no key {prefix!r}", field="prefix")
    return row


def _role_of(session: Session, team: str, user: str) -> str:
    """The role of the key's user; empty for a key without a user."""
    if not user:
        return ""
    member = session.get(MemberRow, (team, user))
    if member is None:
        raise Invalid(
            f"{user} is not in team {team}", field="user", fix="give them a role in the team first"
        )
    return member.role


def _scopes(body: api.KeyIn, role: str) -> list[str]:
    """The scopes requested for a key."""
    if sum([body.scopes is not None, body.role is not None, body.service]) > 1:
        raise Invalid(
            "more than one of role, scopes and service is given", field="role", fix="give one"
        )
    if body.service:
        return [*ALL_SCOPES, ACT_AS]
    if body.scopes is None:
        wanted = body.role or role
        if not wanted:
            raise Invalid(
                "it is not said what the key may do", field="scopes", fix="give a role or scopes"
            )
        return list(ROLES[wanted])
    unknown = sorted(set(body.scopes) - {*ALL_SCOPES, ACT_AS})
    if unknown:
        raise Invalid(
            f"there is no scope {unknown[0]!r}",
            field="scopes",
            fix=f"choose from {', '.join(ALL_SCOPES)}",
        )
    return sorted(set(body.scopes))


def _grantable(scopes: Iterable[str], caller: Principal) -> None:
    beyond = not_grantable(scopes, caller)
    if beyond:
        raise Forbidden(
            f"the key would hold {beyond[0]!r}, which yours does not",
            field="scopes",
            fix="leave it out, or ask the platform's admin",
        )


def _state(row: KeyRow, now: float) -> api.KeyState:
    if row.revoked_at is not None:
        return "revoked"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "active"


def _key(row: KeyRow, now: float) -> api.Key:
    return api.Key(
        prefix=row.prefix,
        team=row.team,
        user=row.user_name or "",
        name=row.name,
        scopes=row.scopes,
        state=_state(row, now),
        created_at=row.created_at or now,
        created_by=row.created_by or "",
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at or None,
        replaced_by=row.replaced_by or "",
    )
