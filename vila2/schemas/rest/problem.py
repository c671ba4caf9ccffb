"""The problem document (RFC 9457) returned by every failed request."""

from __future__ import annotations

from pydantic import Field

from vila2.schemas.rest.base import Model


class OpenAIError(Model):
    """A problem as OpenAI's clients read it."""

    message: str
    type: str
    param: str | None = None
    code: str


class Problem(Model):
    """An error: what is wrong, the field concerned, and how to fix it."""

    type: str
    title: str
    status: int
    detail: str
    field: str | None = None
    fix: str | None = None
    request_id: str | None = Field(None, description="Identifies the request in the logs.")
    error: OpenAIError | None = Field(
        None, description="The same in OpenAI's format, on the paths that OpenAI's clients use."
    )
