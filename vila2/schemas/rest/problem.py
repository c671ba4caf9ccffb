"""The problem document (RFC 9457) that every failed request answers with."""

from __future__ import annotations

from pydantic import Field

from vila2.schemas.rest.base import Model


class Problem(Model):
    """What went wrong, which field it was, and what to do about it."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    fix: str | None = None
    request_id: str | None = Field(None, description="By which the logs know the request.")
