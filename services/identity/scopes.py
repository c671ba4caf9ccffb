"""Scopes, roles and the rules for granting them. Pure.

A key's scopes limit what it may do. If a key belongs to a user, the user's current role in the
key's team limits it as well, checked on every use.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

# Work with a team's data, captions, models and runs.
TEAM_SCOPES = (
    "datasets:read", "datasets:write", "captions:read", "captions:write",
    "models:read", "models:write", "runs:read", "runs:write",
)  # fmt: skip
# A team's own members, keys and audit log.
IDENTITY_SCOPES = ("identity:read", "identity:write")
# Platform admin: acts for every team, creates teams and service keys.
PLATFORM_ADMIN = "platform:admin"
# For operators: view and limit every team's usage.
ADMIN_SCOPES = ("quotas:read", "quotas:write", PLATFORM_ADMIN)
ALL_SCOPES = (*TEAM_SCOPES, *IDENTITY_SCOPES, *ADMIN_SCOPES)
# Only for the services' own keys: act for the team named in the header.
ACT_AS = "internal:act-as"

_READS = tuple(scope for scope in TEAM_SCOPES if scope.endswith(":read"))
ROLES: dict[str, tuple[str, ...]] = {
    "viewer": (*_READS, "identity:read"),
    "member": (*TEAM_SCOPES, "identity:read"),
    "admin": (*TEAM_SCOPES, *IDENTITY_SCOPES),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller and its scopes. `user` is empty for a key without a user."""

    key: str
    team: str
    scopes: frozenset[str]
    user: str = ""

    @property
    def is_service(self) -> bool:
        """Whether this is one of the platform's own services."""
        return ACT_AS in self.scopes

    def may_see(self, team: str) -> bool:
        """Whether this caller may see a team's members, keys and limits."""
        return team == self.team or PLATFORM_ADMIN in self.scopes


def effective(scopes: Iterable[str], *, owned: bool, role: str | None) -> frozenset[str]:
    """A key's effective scopes; a user's own key is limited by the user's role in the team.

    A user who has left the team has no role, so the user's keys have no scopes.
    """
    if not owned:
        return frozenset(scopes)
    return frozenset(scopes) & frozenset(ROLES.get(role or "", ()))


def not_grantable(asked: Iterable[str], caller: Principal) -> list[str]:
    """Requested scopes that the caller cannot grant because it does not hold them.

    The platform's admin may also make keys for services.
    """
    held = set(caller.scopes)
    if PLATFORM_ADMIN in held:
        held |= {*ALL_SCOPES, ACT_AS}
    return sorted(set(asked) - held)


def changes_something(scope: str) -> bool:
    """Whether requests of a route that declares `scope` change anything."""
    return not scope.endswith(":read")
