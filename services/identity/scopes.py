"""Scopes, the roles that stand for them, and who may give what to whom: pure decisions.

A key's scopes bound what it may do; where a key belongs to a user, the user's role in the key's
team bounds it too, each time that it is used.
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
# Whoever holds this acts for every team: makes teams, and keys for services.
PLATFORM_ADMIN = "platform:admin"
# For those who run the platform: they see and bound what every team uses.
ADMIN_SCOPES = ("quotas:read", "quotas:write", PLATFORM_ADMIN)
ALL_SCOPES = (*TEAM_SCOPES, *IDENTITY_SCOPES, *ADMIN_SCOPES)
# Held by the services' own keys alone: work for whichever team the header names.
ACT_AS = "internal:act-as"

_READS = tuple(scope for scope in TEAM_SCOPES if scope.endswith(":read"))
ROLES: dict[str, tuple[str, ...]] = {
    "viewer": (*_READS, "identity:read"),
    "member": (*TEAM_SCOPES, "identity:read"),
    "admin": (*TEAM_SCOPES, *IDENTITY_SCOPES),
}


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, and what they may do. `user` is empty for a key that is nobody's own."""

    key: str
    team: str
    scopes: frozenset[str]
    user: str = ""

    @property
    def is_service(self) -> bool:
        """Whether this is one of the platform's own services."""
        return ACT_AS in self.scopes

    def may_see(self, team: str) -> bool:
        """Whether a team's identity is this caller's business."""
        return team == self.team or PLATFORM_ADMIN in self.scopes


def effective(scopes: Iterable[str], *, owned: bool, role: str | None) -> frozenset[str]:
    """What a key may do now: of a user's own key, no more than the user's role in the team.

    A user who has left the team has no role, and the keys can do nothing.
    """
    if not owned:
        return frozenset(scopes)
    return frozenset(scopes) & frozenset(ROLES.get(role or "", ()))


def not_grantable(asked: Iterable[str], caller: Principal) -> list[str]:
    """Scopes that a caller cannot put into a key: those that it does not hold itself.

    The platform's admin may also make keys for services.
    """
    held = set(caller.scopes)
    if PLATFORM_ADMIN in held:
        held |= {*ALL_SCOPES, ACT_AS}
    return sorted(set(asked) - held)


def changes_something(scope: str) -> bool:
    """Whether requests of a route that declares `scope` change anything."""
    return not scope.endswith(":read")
