"""The dependency of every route: a caller whose key has the route's scope.

`require` checks the scope of the caller authenticated by the middleware, applies the team's rate
limit, and stores what the audit log needs in the request's state.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.chassis.web.errors import Forbidden
from services.chassis.web.key_then_body import CALLER
from services.identity.identity import Identity
from services.identity.scopes import (
    ACT_AS,
    ADMIN_SCOPES,
    ALL_SCOPES,
    PLATFORM_ADMIN,
    TEAM_SCOPES,
    Principal,
)

__all__ = [
    "ACT_AS", "ADMIN_SCOPES", "ALL_SCOPES", "PLATFORM_ADMIN", "TEAM_HEADER", "TEAM_SCOPES",
    "Principal", "identity_of", "require",
]  # fmt: skip

TEAM_HEADER = "x-vila2-team"
# Only for the OpenAPI document, which shows each route's scope.
_BEARER = HTTPBearer(
    scheme_name="apiKey",
    auto_error=False,
    description="`Authorization: Bearer PREFIX.SECRET`, or a token of the configured issuer.",
)


def identity_of(request: Request) -> Identity:
    """The `Identity` of this service's app."""
    identity: Identity = request.app.state.identity
    return identity


def require(scope: str) -> Callable[..., Principal]:
    """A dependency that admits requests whose key has `scope`."""

    def check(
        request: Request,
        # Not an annotation: there, `scope` is out of sight.
        _: HTTPAuthorizationCredentials | None = Security(_BEARER, scopes=[scope]),
    ) -> Principal:
        caller: Principal = getattr(request.state, CALLER)
        request.state.scope = scope
        request.state.principal = caller
        # Before any refusal: each is an entry in the audit log, and must not be free.
        identity_of(request).limit(caller)
        if scope not in caller.scopes:
            raise Forbidden(f"this key lacks the scope {scope!r}", fix="ask for a key with it")
        team = request.headers.get(TEAM_HEADER)
        if team is not None:
            if not caller.is_service:
                raise Forbidden(
                    "only a service may name a team", field=TEAM_HEADER, fix="leave it out"
                )
            caller = Principal(caller.key, team, caller.scopes, caller.user)
            request.state.principal = caller
        return caller

    check.scope = scope  # type: ignore[attr-defined]
    return check
