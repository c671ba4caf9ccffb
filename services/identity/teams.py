"""Teams, their members and their limits."""

from __future__ import annotations

import time
from collections.abc import Callable

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from services.chassis.storage.database import Database, exclusively
from services.chassis.web.errors import Conflict, NotFound
from services.chassis.web.paging import WHOLE, Page
from services.identity.scopes import PLATFORM_ADMIN, Principal
from services.identity.tables import KeyRow, LimitsRow, MemberRow, TeamRow, UserRow
from vila2.schemas.rest import identity as api


class Teams:
    """Owns the tables `teams`, `users`, `members` and `limits`; calls `changed` on a change."""

    def __init__(self, database: Database, changed: Callable[[], None]) -> None:
        self._database, self._changed = database, changed

    def create(self, caller: Principal, body: api.TeamIn) -> api.Team:
        """Create a team; raises `Conflict` if the name is taken."""
        with self._database.transaction() as session:
            exclusively(session, f"team:{body.name}")
            if session.get(TeamRow, body.name) is not None:
                raise Conflict(
                    f"there is a team {body.name}", field="name", fix="choose another name"
                )
            row = TeamRow(name=body.name, created_by=caller.key)
            session.add(row)
            session.flush()
            return _team(session, row)

    def all(self, caller: Principal, page: Page = WHOLE) -> list[api.Team]:
        """The caller's own team, or every team for the platform's admin, by name."""
        query = select(TeamRow)
        if PLATFORM_ADMIN not in caller.scopes:
            query = query.where(TeamRow.name == caller.team)
        with self._database.reading() as session:
            return [_team(session, row) for row in page.rows(session, query, TeamRow.name)]

    def get(self, caller: Principal, team: str) -> api.Team:
        """A team with its members and limits; raises `NotFound`."""
        see(caller, team)
        with self._database.reading() as session:
            return _team(session, team_row(session, team))

    def set_limits(self, caller: Principal, team: str, body: api.LimitsIn) -> api.Limits:
        """Replace all of a team's limits; effective in every process within seconds."""
        with self._database.transaction() as session:
            team_row(session, team)
            exclusively(session, f"limits:{team}")
            row = session.get(LimitsRow, team) or LimitsRow(team=team)
            for name, value in body.model_dump().items():
                setattr(row, name, value)
            row.set_by, row.set_at = caller.key, time.time()
            session.add(row)
            made = limits_of(row)
        self._changed()
        return made

    def put_member(self, caller: Principal, team: str, user: str, body: api.MemberIn) -> api.Member:
        """Set a user's role in a team, creating the user if necessary."""
        see(caller, team)
        with self._database.transaction() as session:
            team_row(session, team)
            exclusively(session, f"user:{user}")
            if session.get(UserRow, user) is None:
                session.add(UserRow(name=user, created_by=caller.key))
                session.flush()
            row = session.get(MemberRow, (team, user)) or MemberRow(team=team, user_name=user)
            row.role = body.role
            session.add(row)
        self._changed()
        return api.Member(user=user, role=body.role)

    def remove_member(self, caller: Principal, team: str, user: str) -> None:
        """Remove a user from a team; the user's own keys in that team lose all scopes."""
        see(caller, team)
        with self._database.transaction() as session:
            row = session.get(MemberRow, (team, user))
            if row is None:
                raise NotFound(f"{user!r} is not in team {team}", field="user")
            session.delete(row)
        self._changed()

    def users(self, page: Page = WHOLE) -> list[api.User]:
        """All users and their roles, by name."""
        with self._database.reading() as session:
            rows = page.rows(session, select(UserRow), UserRow.name)
            theirs = MemberRow.user_name.in_([row.name for row in rows])
            roles: dict[str, dict[str, api.Role]] = {}
            for row in session.scalars(select(MemberRow).where(theirs)):
                roles.setdefault(row.user_name, {})[row.team] = row.role  # type: ignore[assignment]
            return [
                api.User(name=row.name, created_at=row.created_at, roles=roles.get(row.name, {}))
                for row in rows
            ]


def see(caller: Principal, team: str) -> None:
    """Raise `NotFound` if the caller may not see the team, whether or not it exists."""
    if not caller.may_see(team):
        raise _no_team(team)


def team_row(session: Session, team: str) -> TeamRow:
    """A team's row; raises `NotFound`."""
    row = session.get(TeamRow, team)
    if row is None:
        raise _no_team(team)
    return row


def limits_of(row: LimitsRow | None) -> api.Limits:
    """A team's limits; without a row, unlimited."""
    if row is None:
        return api.Limits()
    names = api.LimitsIn.model_fields
    held = {name: getattr(row, name) for name in names}
    return api.Limits(**held, set_by=row.set_by, set_at=row.set_at)


def _no_team(team: str) -> NotFound:
    return NotFound(f"no team {team!r}", field="team", fix="see `vila2 teams list`")


def _team(session: Session, row: TeamRow) -> api.Team:
    members = session.scalars(
        select(MemberRow).where(MemberRow.team == row.name).order_by(MemberRow.user_name)
    )
    active = session.scalar(
        select(func.count())
        .select_from(KeyRow)
        .where(
            KeyRow.team == row.name,
            KeyRow.revoked_at.is_(None),
            KeyRow.expires_at.is_(None) | (KeyRow.expires_at > time.time()),
        )
    )
    return api.Team(
        name=row.name,
        created_at=row.created_at,
        members=[api.Member(user=m.user_name, role=m.role) for m in members],
        keys=active or 0,
        limits=limits_of(session.get(LimitsRow, row.name)),
    )
