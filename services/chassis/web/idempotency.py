"""`Idempotency-Key`: a repeated creating POST returns the resource it created the first time.

The key is stored as the `token` of the created row, so it is valid for as long as the row exists.
Its scope is one kind of resource in a team, or below a parent resource if there is one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header
from pydantic import BaseModel
from sqlalchemy import String, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from services.chassis.storage.database import Database
from services.chassis.web.errors import Invalid
from vila2.schemas.canonical import canonical_json

HEADER = "Idempotency-Key"
PATTERN = r"^[!-~]{1,255}$"

Row = TypeVar("Row", bound="TokenColumns")
T = TypeVar("T")


class TokenColumns:
    """Columns of a row created by a request with a key; the table makes `token` unique."""

    token: Mapped[str | None] = mapped_column(String(255))
    fingerprint: Mapped[str] = mapped_column(String(64), default="")


@dataclass(frozen=True, slots=True)
class KeyedRequest:
    """A creating request: its optional key, and a digest of its content."""

    token: str | None
    fingerprint: str

    @classmethod
    def of(cls, token: str | None, body: BaseModel, *path: str) -> KeyedRequest:
        """From a request; `path` holds path parameters that matter, such as the parent's name.

        A field with its default value is equivalent to an omitted one.
        """
        asked = canonical_json([*path, body.model_dump(mode="json", exclude_defaults=True)])
        return cls(token or None, hashlib.sha256(asked).hexdigest())

    @property
    def columns(self) -> dict[str, str | None]:
        """The values of `TokenColumns` for a new row."""
        return {"token": self.token, "fingerprint": self.fingerprint}

    def part(self, body: BaseModel) -> str | None:
        """A derived key for a resource that this request creates in another service."""
        return self.token and KeyedRequest.of(None, body, self.token).fingerprint

    def find(self, session: Session, table: type[Row], **within: Any) -> Row | None:
        """The row this request created before; raises `Invalid` if the key was used differently."""
        if self.token is None:
            return None
        row = session.scalar(select(table).filter_by(token=self.token, **within))
        if row is not None and row.fingerprint != self.fingerprint:
            raise Invalid(
                "this key came with another request before",
                field=HEADER,
                fix="send a key again only with the same request; make a new one for each other",
            )
        return row


def create_once(database: Database, work: Callable[[Session], T]) -> T:
    """Run `work`, which looks a request up and inserts its row if there is none.

    If the same request runs concurrently, the unique constraint lets one insert succeed; the other
    runs `work` again and finds the row.
    """
    try:
        with database.transaction() as session:
            return work(session)
    except IntegrityError:
        with database.transaction() as session:
            return work(session)


def _given(
    token: Annotated[
        str | None,
        Header(
            alias=HEADER,
            pattern=PATTERN,
            description="Repeating a request with the same key returns what the first one "
            "created; a different request with that key is rejected.",
        ),
    ] = None,
) -> str | None:
    return token


IdempotencyKey = Annotated[str | None, Depends(_given)]
