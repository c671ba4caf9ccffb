"""The errors a service answers with, and the one handler that turns them into problem+json.

Each class is a case; its `code` is stable and its status is fixed here, so routes set none.
The reply follows RFC 9457, with `field` and `fix` where they help.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException

from vila2.client import ApiError, Unreachable
from vila2.schemas.rest.problem import Problem
from vila2.system.request_id import request_id


class ServiceError(Exception):
    """Base of everything that a service refuses or cannot do."""

    code = "internal"
    status = 500
    # What the reply carries beside the problem.
    headers: Mapping[str, str] = MappingProxyType({})

    def __init__(self, message: str, *, field: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field
        self.fix = fix


class NotFound(ServiceError):
    """There is no such thing, or it belongs to another team."""

    code, status = "not-found", 404


class Invalid(ServiceError):
    """The request is understood and wrong; `field` and `fix` say how."""

    code, status = "invalid", 422


class Conflict(ServiceError):
    """The thing is not in a state that allows this."""

    code, status = "conflict", 409


class Unauthenticated(ServiceError):
    """No key, or one that is unknown or expired."""

    code, status = "unauthenticated", 401
    # How to do better (RFC 9110, section 11.6.1).
    headers = MappingProxyType({"WWW-Authenticate": "Bearer"})


class Forbidden(ServiceError):
    """The key is known but lacks the scope."""

    code, status = "forbidden", 403


class TooLarge(ServiceError):
    """The body is larger than the service accepts."""

    code, status = "too-large", 413


class TooManyRequests(ServiceError):
    """The team has used what it may for now; the same request succeeds later.

    `retry_after` is in seconds, rounded up: whoever waits that long does not come too early.
    """

    code, status = "too-many-requests", 429

    def __init__(self, message: str, *, retry_after: float, field: str = "", fix: str = "") -> None:
        super().__init__(message, field=field, fix=fix)
        self.retry_after = max(1, math.ceil(retry_after))
        self.headers = {"Retry-After": str(self.retry_after)}


# What to do about what the framework itself refuses.
_FIX_OF_THE_FRAMEWORK = dict.fromkeys((404, 405), "see the paths at /docs of the service")


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """The reply that carries a problem, with the id by which the logs know the request."""
    told = {"request_id": request_id.get() or None, **problem.model_dump(exclude_none=True)}
    return JSONResponse(
        {name: value for name, value in told.items() if value is not None},
        status_code=problem.status,
        headers=headers,
        media_type="application/problem+json",
    )


def unforeseen() -> JSONResponse:
    """The reply where something of ours is broken: the log has the rest, by the request's id."""
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
    """The reply to a request that one of our errors ended."""
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
    """The reply to a request for which another service does not answer."""
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
    """Answer every error of ours, and every validation error, as a problem document."""

    @app.exception_handler(ServiceError)
    def _ours(_: Request, error: ServiceError) -> JSONResponse:
        return refusal(error)

    @app.exception_handler(ApiError)
    def _of_another_service(_: Request, error: ApiError) -> JSONResponse:
        # What it refused, it refused for the same caller: its words are the answer.
        after = error.retry_after
        headers = {} if after is None else {"Retry-After": str(math.ceil(after))}
        return problem_response(error.problem, headers)

    @app.exception_handler(Unreachable)
    def _silent(_: Request, __: Unreachable) -> JSONResponse:
        return unreachable()

    @app.exception_handler(HTTPException)
    def _framework(_: Request, error: HTTPException) -> JSONResponse:
        # The framework answers 400 to whatever breaks while it reads a body.
        if isinstance(error.__cause__, ServiceError):
            return refusal(error.__cause__)
        if error.status_code == 400:  # bytes that are not text
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
        # What the models let pass and PostgreSQL's columns cannot hold.
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
        first = error.errors()[0]
        if first["type"] == "json_invalid":  # its place is a number of characters, no field
            told = f"the body is not JSON: {first['ctx']['error']} at {first['loc'][-1]}"
            return refusal(Invalid(told, field="body", fix="send JSON in UTF-8"))
        where = _place(first)
        unknown = first["type"] == "extra_forbidden"
        return problem_response(
            Problem(
                type="urn:vila2:problem:invalid",
                title="Invalid",
                status=422,
                detail="; ".join(f"{_place(e)}: {e['msg']}" for e in error.errors()),
                field=where or None,
                fix="remove this key" if unknown else f"see the schema of {where or 'the body'}",
            )
        )


def _place(error: Mapping[str, Any]) -> str:
    """Which field a validation error is about; a header or a field of the body by its name."""
    return ".".join(str(part) for part in error["loc"] if part not in ("body", "header"))
