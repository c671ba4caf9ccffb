"""API keys: `prefix.secret`, of which only an HMAC is kept, with a team and scopes.

A secret has 256 random bits, so a fast keyed hash is right; slow hashes are for passwords.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Request

from services.chassis.errors import Forbidden, Unauthenticated
from services.chassis.rest.idempotency import begin

# What a team's key may hold.
TEAM_SCOPES = (
    "datasets:read", "datasets:write", "captions:read", "captions:write",
    "models:read", "models:write", "runs:read", "runs:write",
)  # fmt: skip
# What is for those who run the platform: they see and bound what every team uses.
ADMIN_SCOPES = ("quotas:read", "quotas:write")
ALL_SCOPES = (*TEAM_SCOPES, *ADMIN_SCOPES)
# Held by the services' own keys alone: work for whichever team the header names.
ACT_AS = "internal:act-as"
TEAM_HEADER = "x-vila2-team"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, and what they may do."""

    key: str
    team: str
    scopes: frozenset[str]


class KeyRing:
    """The keys that a process accepts, in a file that only its owner may read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = self._read()

    def issue(self, *, team: str, scopes: tuple[str, ...] = TEAM_SCOPES) -> str:
        """Make a key and return it; it cannot be shown again."""
        prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        self._content["keys"][prefix] = {
            "hmac": self._hmac(secret),
            "team": team,
            "scopes": list(scopes),
        }
        write_private(self._path, json.dumps(self._content, indent=1))
        return f"{prefix}.{secret}"

    def principal(self, key: str) -> Principal | None:
        """Who holds `key`, or `None`; takes the same time however wrong the secret is."""
        prefix, _, secret = key.partition(".")
        entry = self._content["keys"].get(prefix, {"hmac": "", "team": "", "scopes": []})
        if not hmac.compare_digest(entry["hmac"], self._hmac(secret)):
            return None
        return Principal(prefix, entry["team"], frozenset(entry["scopes"]))

    def _hmac(self, secret: str) -> str:
        pepper = bytes.fromhex(self._content["pepper"])
        return hmac.new(pepper, secret.encode(), hashlib.sha256).hexdigest()

    def _read(self) -> dict[str, Any]:
        if self._path.exists():
            held: dict[str, Any] = json.loads(self._path.read_text())
            return held
        return {"pepper": secrets.token_hex(32), "keys": {}}


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner can read, from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text)
    partial.replace(path)


def require(scope: str) -> Callable[[Request], Principal]:
    """A dependency that lets a request in when its key holds `scope`.

    One that came with an idempotency key is answered from here if it was answered before.
    """

    def check(request: Request) -> Principal:
        principal = allowed(request)
        begin(request, principal.team)
        return principal

    def allowed(request: Request) -> Principal:
        header = request.headers.get("authorization", "")
        scheme, _, key = header.partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise Unauthenticated(
                "this route needs a key", field="Authorization", fix="send `Bearer PREFIX.SECRET`"
            )
        keys: KeyRing = request.app.state.keys
        principal = keys.principal(key)
        if principal is None:
            raise Unauthenticated("unknown key", field="Authorization", fix="check or renew it")
        if scope not in principal.scopes:
            raise Forbidden(f"this key lacks the scope {scope!r}", fix="ask for a key with it")
        team = request.headers.get(TEAM_HEADER)
        if team is None:
            return principal
        if ACT_AS not in principal.scopes:
            raise Forbidden("only a service may name a team", field=TEAM_HEADER, fix="leave it out")
        return Principal(principal.key, team, principal.scopes)

    check.scope = scope  # type: ignore[attr-defined]
    return check
