"""Errors about submitted data: each names the file, the field and the fix."""

from __future__ import annotations

from vila2.schemas.stored import Stored


class DataError(ValueError):
    """An error in submitted data that aborts the whole operation."""

    code = "data"

    def __init__(self, message: str, *, file: str = "", field: str = "", fix: str = "") -> None:
        self.message, self.file, self.field, self.fix = message, file, field, fix
        where = f"{file}: " if file else ""
        named = f" (field {field})" if field else ""
        super().__init__(f"{where}{message}{named}" + (f". {fix}" if fix else ""))


class ShardError(DataError):
    """A tar that is not a shard, or tries to be more than one."""

    code = "shard"


class Damaged(DataError):
    """Stored bytes are missing or changed; the message names them and how to restore them."""

    code = "damaged"

    def __init__(self, stored: Stored, why: str) -> None:
        super().__init__(
            f"{stored.what} is damaged: {why}",
            field="",
            fix=f"Restore it from a backup: deploy/restore.sh BACKUP {stored.restore}",
        )
