"""OpenID Connect: accepts bearer tokens signed by an identity provider, in addition to keys.

A token is valid if one of the issuer's published keys signed it with an asymmetric algorithm and
its issuer, audience and times are valid. Claims name the user and the team. The role comes from a
claim, or else from the user's membership. The team must exist; tokens never create one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx2
import structlog

from services.chassis.web.errors import Unauthenticated
from services.identity.scopes import ROLES, Principal
from vila2.client import Unreachable

if TYPE_CHECKING:
    from services.identity.directory import Directory

_log = structlog.get_logger()
# Shown in the audit log instead of a key prefix.
KEY = "oidc"
ALGORITHMS = ("RS256", "PS256", "ES256", "ES384", "EdDSA", "Ed25519")
# Allowed clock skew, in seconds.
LEEWAY_SECONDS = 30
_FRESH_SECONDS = 3600.0
# A token with an unknown key triggers a refetch, since the issuer may have rotated its keys. This
# interval keeps forged tokens from causing a request to the issuer each time.
_AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Claims:
    """Names of the identity claims; with an empty `role`, roles come from team membership."""

    user: str = "email"
    team: str = "team"
    role: str = ""


class IssuerKeys:
    """The issuer's keys, found through its discovery document; fetched lazily and cached."""

    def __init__(self, issuer: str) -> None:
        self._issuer = issuer
        self._http = httpx2.Client(timeout=10.0, follow_redirects=False)
        self._lock = threading.Lock()
        self._held: Any = None
        self._fetched = float("-inf")

    def get(self, *, older_than: float = _FRESH_SECONDS) -> Any:
        """The key set, fetched again if older than `older_than` seconds.

        Raises `Unreachable` if it was never fetched; later failures keep using the cached keys.
        """
        with self._lock:
            now = time.monotonic()
            if now - self._fetched > older_than:
                try:
                    self._held = self._fetch()
                    self._fetched = now
                except (httpx2.HTTPError, ValueError, KeyError, TypeError) as error:
                    if self._held is None:
                        raise Unreachable(f"no keys from {self._issuer}: {error}") from error
                    _log.warning("the issuer's keys were not fetched again", error=str(error))
            return self._held

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    def _fetch(self) -> Any:
        from joserfc.jwk import KeySet

        where = f"{self._issuer.rstrip('/')}/.well-known/openid-configuration"
        told = self._http.get(where).raise_for_status().json()
        if told["issuer"] != self._issuer:
            raise ValueError(f"{where} is of the issuer {told['issuer']!r}")
        return KeySet.import_key_set(self._http.get(told["jwks_uri"]).raise_for_status().json())


class SignIn:
    """Authenticates signed tokens. Needs the extra `oidc`."""

    def __init__(self, issuer: str, audience: str, claims: Claims) -> None:
        from joserfc.jwt import JWTClaimsRegistry

        self._keys, self._claims = IssuerKeys(issuer), claims
        self._rules = JWTClaimsRegistry(
            leeway=LEEWAY_SECONDS,
            iss={"essential": True, "value": issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
        )

    def principal(self, token: str, directory: Directory) -> Principal:
        """The sender of a token; raises `Unauthenticated` with the reason."""
        claims = self._verified(token)
        user, team = (_text(claims, name) for name in (self._claims.user, self._claims.team))
        if not directory.has_team(team):
            raise _refused(f"its team {team!r} does not exist here", "have the team made")
        told = claims.get(self._claims.role) if self._claims.role else None
        role = told if isinstance(told, str) else directory.role(team, user)
        if role not in ROLES:
            raise _refused(f"{user} has no role in team {team}", "ask the team's admin for one")
        return Principal(KEY, team, frozenset(ROLES[role]), user)

    def close(self) -> None:
        """Give the connections back."""
        self._keys.close()

    def _verified(self, token: str) -> Mapping[str, Any]:
        from joserfc import jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        def claims_by(keys: Any) -> Mapping[str, Any]:
            found: Mapping[str, Any] = jwt.decode(token, keys, algorithms=ALGORITHMS).claims
            return found

        try:
            try:
                claims = claims_by(self._keys.get())
            except InvalidKeyIdError:
                claims = claims_by(self._keys.get(older_than=_AGAIN_SECONDS))
            self._rules.validate(dict(claims))
        except (JoseError, ValueError) as error:
            raise _refused(f"{error}", "sign in again") from error
        return claims


def _text(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= 200:
        raise _refused(f"it has no claim {name!r}", "have the sign-in service send it")
    return value


def _refused(why: str, fix: str) -> Unauthenticated:
    return Unauthenticated(f"this token is refused: {why}", field="Authorization", fix=fix)
