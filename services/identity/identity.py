"""The services' interface to identity: authentication, rate limits and the audit log."""

from __future__ import annotations

from starlette.applications import Starlette

from services.chassis.storage.database import Database
from services.chassis.telemetry.metrics import RATE_LIMITED
from services.chassis.web.errors import TooManyRequests, Unauthenticated
from services.identity.audit import Audit
from services.identity.audit_trail import AuditTrail
from services.identity.directory import Directory
from services.identity.keys import Keys
from services.identity.limiter import Limiter
from services.identity.oidc import SignIn
from services.identity.peppers import Peppers
from services.identity.scopes import Principal
from services.identity.teams import Teams


class Identity:
    """One per process, shared by its services; `sign_in` is set if OIDC is configured."""

    def __init__(
        self,
        database: Database,
        peppers: Peppers,
        limiter: Limiter,
        sign_in: SignIn | None = None,
        *,
        audit: Audit | None = None,
    ) -> None:
        self._database, self._limiter, self._sign_in = database, limiter, sign_in
        self.directory = Directory(database, peppers)
        self.keys = Keys(database, peppers, self.directory.forget)
        self.teams = Teams(database, self.directory.forget)
        self.audit = audit or Audit(database)

    def principal(self, bearer: str) -> Principal:
        """Authenticate a bearer token, a key or a JWT; raises `Unauthenticated`."""
        if bearer.count(".") != 2:  # a key has one dot, a JWT two
            return self.directory.principal(bearer)
        if self._sign_in is None:
            raise Unauthenticated(
                "signed tokens are not accepted here",
                field="Authorization",
                fix="send a key, or have VILA2_OIDC_ISSUER set",
            )
        return self._sign_in.principal(bearer, self.directory)

    def watch(self, app: Starlette, service: str) -> None:
        """Record the requests to a service's app in the audit log."""
        app.add_middleware(AuditTrail, service=service, identity=self)

    def limit(self, caller: Principal) -> None:
        """Raise `TooManyRequests` if the team exceeds its rate limit; services are exempt."""
        if caller.is_service:
            return
        most = self.directory.limits(caller.team).requests_per_minute
        if most is None:
            return
        seconds = self._limiter.wait(caller.team, most)
        if seconds > 0:
            RATE_LIMITED.labels(caller.team).inc()
            raise TooManyRequests(
                f"team {caller.team} may send {most} requests a minute",
                retry_after=seconds,
                fix="wait as long as Retry-After says; the platform's admin sets the limit",
            )

    def close(self) -> None:
        """Close connections."""
        self._limiter.close()
        if self._sign_in is not None:
            self._sign_in.close()
        self._database.close()
