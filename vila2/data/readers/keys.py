"""Sample keys: short, plain, and deterministic for a source."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

_PLAIN = re.compile(r"[A-Za-z0-9_-]+")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9_-]+")
_MAX = 80


class Keys:
    """Assigns a unique key to each source of one submission.

    A key is the source's plain name, and ends in a short hash of the whole source if the name
    is not plain, too long, or taken: `a.jpg` gives `a`, a later `a.png` gives `a-6b1f0c93d2`.
    """

    def __init__(self) -> None:
        self._taken: dict[str, str] = {}

    def of_file(self, relative: str) -> str:
        """Key of a file's relative path; its extension is left out."""
        path = PurePosixPath(relative)
        return self.of(str(path.with_suffix("")) if path.suffix else str(path), source=relative)

    def of(self, name: str, *, source: str) -> str:
        """Key for `name`; the same `source` always gets the same key."""
        key = clean_key(name)
        if self._taken.setdefault(key, source) != source:
            key = _with_hash(key, source)
            self._taken[key] = source
        return key


def ids_beside(key: str, *given: object) -> tuple[str, ...]:
    """The source's own ids in order, without the missing; none if that leaves `key` alone."""
    found = tuple(dict.fromkeys(str(each) for each in given if each not in (None, "")))
    return () if found == (key,) else found


def clean_key(name: str) -> str:
    """`name` itself if plain and short, else its plain characters and a hash of the whole."""
    if _PLAIN.fullmatch(name) and len(name) <= _MAX:
        return name
    return _with_hash(_NOT_PLAIN.sub("_", name).strip("_"), name)


def _with_hash(plain: str, source: str) -> str:
    data = source.encode("utf-8", "surrogatepass")
    short = hashlib.blake2b(data, digest_size=5).hexdigest()
    return f"{plain[: _MAX - 11]}-{short}".lstrip("-")
