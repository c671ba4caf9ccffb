"""A key's secret and what is stored of it: an HMAC under a pepper that the database never sees.

A secret has 256 random bits, so a fast keyed hash is right; slow hashes are for passwords. Whoever
steals the rows alone can neither use a key nor make one up.
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
        """As its holder sends it."""
        return f"{self.prefix}.{self.secret}"


class Peppers:
    """The peppers that a platform holds: new keys get the first, the others go on being known.

    To change the pepper, put the new one in front; when the last key of the old one has been
    rotated, drop it.
    """

    def __init__(self, hexadecimal: Sequence[str]) -> None:
        known = [_bytes(text) for text in hexadecimal]
        if not known:
            raise PepperWrong("there is no pepper")
        self._by_name = {_name(pepper): pepper for pepper in known}
        self._first = _name(known[0])

    @classmethod
    def of(cls, path: Path, *, given: str = "") -> Peppers:
        """Those given (separated by commas) and those of the file, which is made if need be."""
        told = [part.strip() for part in given.split(",") if part.strip()]
        kept = path.read_text().split() if path.exists() else []
        if not told and not kept:
            add_private(path, secrets.token_hex(32) + "\n")
            kept = path.read_text().split()
        return cls([*told, *kept])

    def new_key(self) -> KeyText:
        """A key that nobody has had before."""
        prefix, secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        return KeyText(prefix, secret, self._digest(secret, self._first), self._first)

    def holds(self, name: str) -> bool:
        """Whether keys of this pepper can be checked."""
        return name in self._by_name

    def fits(self, secret: str, *, digest: str, pepper: str) -> bool:
        """Whether a secret is the one that was stored; as slow for a wrong one as for a right."""
        name = pepper if pepper in self._by_name else self._first
        same = hmac.compare_digest(digest.encode(), self._digest(secret, name).encode())
        return same and name == pepper

    def _digest(self, secret: str, name: str) -> str:
        return hmac.new(self._by_name[name], secret.encode(), hashlib.sha256).hexdigest()


def pepper_name(hexadecimal: str) -> str:
    """What rows call a pepper by; it tells nothing of it."""
    return _name(_bytes(hexadecimal))


def write_private(path: Path, text: str) -> None:
    """Write a file that nobody but its owner can read, from its first byte on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, text, mode=0o600)


def add_private(path: Path, text: str) -> bool:
    """The same for a file that may be there already: then it stays as it is, and this is False."""
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
