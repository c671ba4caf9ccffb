"""Typed client of teams, keys and the audit log; the controller serves them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from vila2.client.http import Rest
from vila2.schemas.rest import identity as api


class IdentityClient(Rest):
    """Teams, users, keys and the audit log."""

    def whoami(self) -> api.Caller:
        """The team, user and scopes of this client's key."""
        return self.one(api.Caller, "GET", "whoami")

    def create_team(self, name: str) -> api.Team:
        """Create a team; platform admin only."""
        return self.one(api.Team, "POST", "teams", json={"name": name})

    def teams(self) -> list[api.Team]:
        """The team of this client's key, or all teams for the platform admin."""
        return self.many(api.Team, "teams")

    def team(self, team: str) -> api.Team:
        """A team by name."""
        return self.one(api.Team, "GET", f"teams/{team}")

    def set_limits(self, team: str, body: api.LimitsIn) -> api.Limits:
        """Replace all of a team's limits."""
        return self.one(api.Limits, "PUT", f"teams/{team}/limits", json=body.model_dump())

    def put_member(self, team: str, user: str, role: api.Role) -> api.Member:
        """Give a user a role in a team."""
        path = f"teams/{team}/members/{quote(user, safe='')}"
        return self.one(api.Member, "PUT", path, json={"role": role})

    def remove_member(self, team: str, user: str) -> None:
        """Remove a user from a team."""
        self.send("DELETE", f"teams/{team}/members/{quote(user, safe='')}")

    def users(self) -> list[api.User]:
        """All users; platform admin only."""
        return self.many(api.User, "users")

    def create_key(self, team: str, body: api.KeyIn) -> api.NewKey:
        """Create a key; its secret is returned only in this reply."""
        return self.one(api.NewKey, "POST", f"teams/{team}/keys", json=body.model_dump())

    def keys(self, team: str) -> list[api.Key]:
        """All keys of a team, including expired and revoked ones."""
        return self.many(api.Key, f"teams/{team}/keys")

    def rotate_key(self, team: str, prefix: str, *, overlap_hours: float = 24.0) -> api.NewKey:
        """Replace a key; the old one stays valid for the overlap."""
        path = f"teams/{team}/keys/{prefix}/rotate"
        return self.one(api.NewKey, "POST", path, json={"overlap_hours": overlap_hours})

    def revoke_key(self, team: str, prefix: str) -> api.Key:
        """Revoke a key."""
        return self.one(api.Key, "DELETE", f"teams/{team}/keys/{prefix}")

    def audit_page(self, **wanted: Any) -> api.AuditPage:
        """A page of the audit log; `wanted` holds the filters of the route."""
        given = {name: value for name, value in wanted.items() if value not in ("", None)}
        return self.one(api.AuditPage, "GET", "audit", params=given)

    def audit(self, *, limit: int, **wanted: Any) -> Iterator[api.AuditEntry]:
        """The newest `limit` entries, page by page."""
        cursor = ""
        while limit > 0:
            page = self.audit_page(**wanted, cursor=cursor, limit=min(limit, 200))
            yield from page.entries
            limit, cursor = limit - len(page.entries), page.next or ""
            if not cursor:
                return
