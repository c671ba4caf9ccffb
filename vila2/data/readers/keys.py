"""Sample keys: short, plain, and the same each time for the same source."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

_PLAIN = re.compile(r"[^A-Za-z0-9_-]+")
_MAX = 80


def key_of_path(relative: str) -> str:
    """A key from a file's relative path: its stem where that is plain, else with a short hash.

    Two different paths never give one key, since the hash covers the whole path.
    """
    path = PurePosixPath(relative)
    plain = str(path.with_suffix("")) if path.suffix else str(path)
    key = clean_key(plain)
    return key if key == plain else f"{key}-{_short_hash(relative)}"


def clean_key(key: str) -> str:
    """Replace what a key may not hold; an empty or over-long key ends in a hash of itself."""
    cleaned = _PLAIN.sub("_", key).strip("_")
    if not cleaned or len(cleaned) > _MAX:
        return f"{cleaned[: _MAX - 11]}-{_short_hash(key)}".lstrip("-")
    return cleaned


def _short_hash(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=5).hexdigest()
