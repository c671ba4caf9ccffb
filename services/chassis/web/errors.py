"""The errors a service returns, and the handlers that turn them into problem+json.

Each class is one case with a stable `code` and a fixed status, so routes set none. The response
follows RFC 9457, with `field` and `fix` added when they help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from services.chassis.storage.trouble import trouble_of
from vila2.client import ApiError, Unreachable
from vila2.data.errors import Damaged
from vila2.schemas.rest.problem import Problem
from vila2.system.request_id import request_id


class ServiceError(Exception):
    """Base class of all errors returned to clients."""

    code = "internal"
    status = 500
    # Extra response headers.
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, *, field: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.fix = fix


class NotFound(ServiceError):
    """The resource does not exist or belongs to another team."""

    code, status = "not-found", 404


class Invalid(ServiceError):
    """The request is well-formed but invalid; `field` and `fix` explain why."""

    code, status = "invalid", 422


class Conflict(ServiceError):
    """The resource's current state does not allow this operation."""

    code, status = "conflict", 409


class Unauthenticated(ServiceError):
    """The key is missing, unknown, revoked or expired."""

    code, status = "unauthenticated", 401
    # The challenge that a 401 must carry (RFC 9110, section 11.6.1).
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(ServiceError):
    """The key is valid but lacks the required scope."""

    code, status = "forbidden", 403


class TooLarge(ServiceError):
    """The request body exceeds the limit."""

    code, status = "too-large", 413


class TooManyRequests(ServiceError):
    """The team has reached a rate limit or quota; the same request can succeed later.

    `retry_after` is in seconds, rounded up so that a client never retries too early.
    """

    code, status = "too-many-requests", 429

    def __init__(self, message: str, *, retry_after: float, field: str = "", fix: str = "") -> None:
        super().__init__(message, field=field, fix=fix)
        self.retry_after = max(1, math.ceil(retry_after))
        self.headers = {"Retry-After": str(self.retry_after)}


# Validation errors that a reply lists; a body may hold as many as it has values.
ERRORS_TOLD = 20
# Characters of a field's name (keys are the client's own) and of a message.
_PLACE, _MESSAGE = 200, 500
# Suggested fixes for errors raised by the framework.
_FIX_OF_THE_FRAMEWORK = dict.fromkeys((404, 405), "see the paths at /docs of the service")


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The problem+json response, including the request id used in the logs."""
    told = {"request_id": request_id.get() or None, **problem.model_dump(exclude_none=True)}
    return JSONResponse(
        {name: value for name, value in told.items() if value is not None},
        status_code=problem.status,
        headers=headers,
        media_type="application/problem+json",
    )


def unforeseen(error: Exception) -> JSONResponse:
    """The response to an unexpected error: the storage's trouble by its name, else a 500.

    The log has the details under the request id.
    """
    trouble = trouble_of(error)
    if trouble is not None:
        return problem_response(
            Problem(
                type="urn:vila2:problem:storage",
                title="Storage",
                status=trouble.status,
                detail=trouble.what,
                fix=trouble.fix,
            )
        )
    return problem_response(
        Problem(
            type="urn:vila2:problem:internal",
            title="Internal",
            status=500,
            detail="something is broken here",
            fix="look for this request_id in the log",
        )
    )


def refusal(error: ServiceError) -> JSONResponse:
    """The response for a `ServiceError`."""
    return problem_response(
        Problem(
            type=f"urn:vila2:problem:{error.code}",
            title=type(error).__name__,
            status=error.status,
            detail=error.message,
            field=error.field or None,
            fix=error.fix or None,
        ),
        error.headers,
    )


def unreachable() -> JSONResponse:
    """The response when another service cannot be reached."""
    return problem_response(
        Problem(
            type="urn:vila2:problem:unreachable",
            title="Unreachable",
            status=503,
            detail="another service does not answer",
            fix="try again later",
        )
    )


def add_error_handlers(app: FastAPI) -> None:
    """Return every service, validation and framework error as a problem document."""

    @app.exception_handler(ServiceError)
    def _ours(_: Request, error: ServiceError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(ApiError)
    def _of_another_service(_: Request, error: ApiError) -> JSONResponse:
        # The other service refused the same caller's request, so its problem is passed on.
        after = error.retry_after
        headers = {} if after is None else {"Retry-After": str(math.ceil(after))}
        return problem_response(error.problem, headers)

    @app.exception_handler(Unreachable)
    def _silent(_: Request, __: Unreachable) -> JSONResponse:
        return unreachable()

    @app.exception_handler(Damaged)
    def _damaged(_: Request, error: Damaged) -> JSONResponse:
        return problem_response(
            Problem(
                type="urn:vila2:problem:damaged",
                title="Damaged",
                status=500,
                detail=error.message,
                fix=error.fix,
            )
        )

    @app.exception_handler(HTTPException)
    def _framework(_: Request, error: HTTPException) -> JSONResponse:
        # The framework returns 400 for any error while it reads a body.
        if isinstance(error.__cause__, ServiceError):
            return refusal(error.__cause__)
        if error.status_code == 400:  # the body is not valid text
            return refusal(Invalid("the body is not JSON", field="body", fix="send JSON in UTF-8"))
        return problem_response(
            Problem(
                type="about:blank",
                title="Error",
                status=error.status_code,
                detail=error.detail,
                fix=_FIX_OF_THE_FRAMEWORK.get(error.status_code),
            ),
            error.headers,
        )

    @app.exception_handler(DataError)
    def _unstorable(_: Request, error: DataError) -> JSONResponse:
        # Values that the models accept but PostgreSQL's columns cannot hold.
        return problem_response(
            Problem(
                type="urn:vila2:problem:invalid",
                title="Invalid",
                status=422,
                detail="a value of the request cannot be stored",
                fix="shorten texts, and leave out NUL characters",
            )
        )

    @app.exception_handler(RequestValidationError)
    def _validation(_: Request, error: RequestValidationError) -> JSONResponse:
        found = error.errors()
        first = found[0]
        if first["type"] == "json_invalid":  # its location is a character offset, not a field
            told = f"the body is not JSON: {first['ctx']['error']} at {first['loc'][-1]}"
            return refusal(Invalid(told, field="body", fix="send JSON in UTF-8"))
        where = _place(first)[:_PLACE]
        unknown = first["type"] == "extra_forbidden"
        return problem_response(
            Problem(
                type="urn:vila2:problem:invalid",
                title="Invalid",
                status=422,
                detail=_told(found),
                field=where or None,
                fix="remove this key" if unknown else f"see the schema of {where or 'the body'}",
            )
        )


def _told(found: Sequence[Mapping[str, Any]]) -> str:
    """The first errors, each cut to a readable length, and how many more there are."""
    told = [f"{_place(e)[:_PLACE]}: {str(e['msg'])[:_MESSAGE]}" for e in found[:ERRORS_TOLD]]
    more = len(found) - len(told)
    return "; ".join([*told, f"and {more:,} more"] if more else told)


def _place(error: Mapping[str, Any]) -> str:
    """The field a validation error refers to: the name of a header or of a body field."""
    return ".".join(str(part) for part in error["loc"] if part not in ("body", "header")) or "body"
