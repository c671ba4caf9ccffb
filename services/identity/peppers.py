"""Key secrets and their stored form: an HMAC under a pepper that is not in the database.

A secret has 256 random bits, so a fast keyed hash is sufficient; slow hashes are for passwords. The
rows alone allow neither using a key nor forging one.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vila2.system.files import create_atomically, write_atomically

_LEAST_BYTES = 16


class PepperWrong(ValueError):
    """A pepper that is too short, or not hexadecimal."""


@dataclass(frozen=True, slots=True)
class KeyText:
    """A new key: `prefix` is public, `secret` is shown once, `digest` is what is stored."""

    prefix: str
    secret: str
    digest: str
    pepper: str

    @property
    def whole(self) -> str:
        """The key as its holder sends it: PREFIX.SECRET."""
        return f"{self.prefix}.{self.secret}"


class Peppers:
    """A platform's peppers: the first is used for new keys, the others only for checking.

    To rotate the pepper, prepend the new one; remove the old one once no key uses it.
    """

    def __init__(self, hexadecimal: Sequence[str]) -> None:
        known = [_bytes(text) for text in hexadecimal]
        if not known:
            raise PepperWrong("there is no pepper")
        self._by_name = {_name(pepper): pepper for pepper in known}
        self._first = _name(known[0])

    @classmethod
    def of(cls, path: Path, *, given: str = "") -> Peppers:
        """The given peppers (comma-separated) and the file's, which is created if necessary."""
        told = [part.strip() for part in given.split(",") if part.strip()]
        kept = path.read_text().split() if path.exists() else []
        if not told and not kept:
            add_private(path, secrets.token_hex(32) + "\n")
            kept = path.read_text().split()
        return cls([*told, *kept])

    def new_key(self) -> KeyText:
        """Generate a new random key."""
        prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        return KeyText(prefix, secret, self._digest(secret, self._first), self._first)

    def holds(self, name: str) -> bool:
        """Whether this pepper is available to check keys."""
        return name in self._by_name

    def fits(self, secret: str, *, digest: str, pepper: str) -> bool:
        """Whether a secret matches the stored digest, compared in constant time."""
        name = pepper if pepper in self._by_name else self._first
        same = hmac.compare_digest(digest.encode(), self._digest(secret, name).encode())
        return same and name == pepper

    def _digest(self, secret: str, name: str) -> str:
        return hmac.new(self._by_name[name], secret.encode(), hashlib.sha256).hexdigest()


def write_private(path: Path, text: str) -> None:
    """Write a file created with owner-only permissions."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text, mode=0o600)


def add_private(path: Path, text: str) -> bool:
    """Like `write_private`, but leaves an existing file unchanged and returns False."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return create_atomically(path, text, mode=0o600)


def _bytes(hexadecimal: str) -> bytes:
    try:
        pepper = bytes.fromhex(hexadecimal)
    except ValueError as error:
        raise PepperWrong(
            "a pepper is hexadecimal: make one with `openssl rand -hex 32`"
        ) from error
    if len(pepper) < _LEAST_BYTES:
        raise PepperWrong(
            f"a pepper has at least {_LEAST_BYTES} bytes: make one with `openssl rand -hex 32`"
        )
    return pepper


def _name(pepper: bytes) -> str:
    return hashlib.sha256(b"vila2 pepper " + pepper).hexdigest()[:8]
