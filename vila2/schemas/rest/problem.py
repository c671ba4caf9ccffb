"""The problem document (RFC 9457) returned by every failed request."""

from __future__ import annotations

from pydantic import Field

from vila2.schemas.rest.base import Model


class Problem(Model):
    """An error: what is wrong, the field concerned, and how to fix it."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    fix: str | None = None
    request_id: str | None = Field(None, description="Identifies the request in the logs.")
