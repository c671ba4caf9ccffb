"""What every route asks for: a caller whose key holds the route's scope.

`require` is the one door: it finds out who asks, holds the team to its rate limit, and leaves what
the audit log needs in the request's state.
"""

from __future__ import annotations

from collections.abc import Callable

from fastapi import Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from services.chassis.errors import Forbidden, Unauthenticated
from services.chassis.identity.identity import Identity
from services.chassis.identity.scopes import (
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
from services.chassis.rest.idempotency import begin

TEAM_HEADER = "x-vila2-team"
# It only reads the header, so that the OpenAPI document shows each route's scope; who is refused,
# and in what words, is `require`'s.
_BEARER = HTTPBearer(
    scheme_name="apiKey",
    auto_error=False,
    description="`Authorization: Bearer PREFIX.SECRET`, or a token of the configured issuer.",
)


def identity_of(request: Request) -> Identity:
    """The identity that this service's app was built with."""
    identity: Identity = request.app.state.identity
    return identity


def require(scope: str) -> Callable[..., Principal]:
    """A dependency that lets a request in when its key holds `scope`.

    One that came with an idempotency key is answered from here if it was answered before.
    """

    def check(
        request: Request,
        # Not an annotation: there, `scope` is out of sight.
        sent: HTTPAuthorizationCredentials | None = Security(_BEARER, scopes=[scope]),
    ) -> Principal:
        principal = allowed(request, sent)
        begin(request, principal.team)
        return principal

    def allowed(request: Request, sent: HTTPAuthorizationCredentials | None) -> Principal:
        identity = identity_of(request)
        request.state.scope = scope
        if sent is None or not sent.credentials:
            raise Unauthenticated(
                "this route needs a key", field="Authorization", fix="send `Bearer PREFIX.SECRET`"
            )
        caller = identity.principal(sent.credentials)
        request.state.principal = caller
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
        identity.limit(caller)
        return caller

    check.scope = scope  # type: ignore[attr-defined]
    return check
