"""What must be found in the object store: how a reader knows that it reads what was written."""

from __future__ import annotations

from pydantic import Field

from vila2.schemas.base import Strict


class Stored(Strict):
    """An object: what people call it, its digest, and the name by which it is restored."""

    what: str = Field(description="Such as `shard 3 of web@2`.")
    sha256: str = Field(description="SHA-256 in hexadecimal, or how it begins.")
    restore: str = Field(description="NAME of `deploy/restore.sh BACKUP NAME`.")
